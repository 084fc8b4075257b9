from agent.config import Config, parse_config
from agent.reporting.questions import Agreement, Question, is_asked, questions_of
from agent.reporting.topics import ViewName

CONFIG = """
debounce: {agree: 2, of: 4, min_probability: 0.5}
cameras:
  yard: {agree: 1, of: 1}
tasks:
  gate:
    views: [{camera: yard, region: [0, 0, 0.5, 0.5]}]
    on: open
    debounce: {agree: 5, of: 9, min_probability: 0.8}
  spaces:
    views: [{camera: yard, name: left}, {camera: street, name: right}]
  feeder: {}
  turned:
    views: [{rotate: 90}]
  all:
    views: [{name: everything}]
"""
EVERYWHERE, YARD = Agreement(2, 4, 0.5), Agreement(1, 1)


def test_without_tasks_there_is_one_question_and_cameras_may_have_rules_of_their_own() -> None:
    assert questions_of(Config()) == {"": Question(Agreement(3, 5))}
    of_all = questions_of(parse_config("cameras: {yard: {agree: 1, of: 1}}", "test"))[""]
    assert of_all.agreement_of("yard") == YARD
    assert of_all.agreement_of("door") == Agreement(3, 5)
    assert is_asked(ViewName("", "door"), {"": of_all})


def test_what_a_task_says_comes_before_what_its_cameras_have_and_that_before_what_holds_everywhere() -> None:
    asked = questions_of(parse_config(CONFIG, "test"))
    assert asked["gate"].agreement_of("yard") == Agreement(5, 9, 0.8)
    assert asked["spaces"].agreement_of("left") == YARD
    assert asked["spaces"].agreement_of("right") == EVERYWHERE
    assert asked["feeder"].agreement_of("yard") == YARD
    assert asked["feeder"].agreement_of("door") == EVERYWHERE
    assert asked["turned"].agreement_of("yard") == YARD
    assert asked["all"].agreement_of("everything") == EVERYWHERE


def test_views_are_known_by_name_and_where_a_task_names_no_camera_by_that_of_the_frame() -> None:
    asked = questions_of(parse_config(CONFIG, "test"))
    assert {name: question.views for name, question in asked.items()} == {
        "gate": ("yard",),
        "spaces": ("left", "right"),
        "feeder": (),
        "turned": (),
        "all": ("everything",),
    }
    assert [name for name, question in asked.items() if question.any_camera] == ["feeder", "turned"]
    assert [name for name, question in asked.items() if question.on] == ["gate"]
    assert is_asked(ViewName("gate", "yard"), asked) and is_asked(ViewName("feeder", "kitchen"), asked)
    assert not is_asked(ViewName("gate", "left"), asked)
    assert not is_asked(ViewName("", "yard"), asked) and not is_asked(ViewName("lamp", "yard"), asked)
