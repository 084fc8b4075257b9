import json
import math

import numpy as np

from agent.terminal import as_json


def test_what_is_no_number_is_null_in_json() -> None:
    payload = {"loss": math.nan, "rows": [1.5, (math.inf, np.float64("nan"))], "count": 2, "name": "NaN", "none": None}
    expected = {"loss": None, "rows": [1.5, [None, None]], "count": 2, "name": "NaN", "none": None}
    assert json.loads(as_json(payload)) == expected
