import threading

from agent.ingress.mqtt.newest import Newest


def test_the_newest_frame_of_a_camera_replaces_the_one_that_waits() -> None:
    frames: Newest[int] = Newest(2)
    assert frames.put("door", 1)
    assert not frames.put("door", 2)
    assert frames.take() == 2


def test_cameras_take_turns_however_fast_one_is() -> None:
    frames: Newest[str] = Newest(3)
    taken = []
    frames.put("fast", "fast 0")
    frames.put("slow", "slow 0")
    for n in range(1, 7):
        for _ in range(10):
            frames.put("fast", f"fast {n}")
        taken.append(frames.take())
        if n % 2 == 0:
            frames.put("slow", f"slow {n}")
    assert taken[:4] == ["fast 1", "slow 0", "fast 3", "slow 2"]


def test_no_more_cameras_wait_than_there_is_room_for() -> None:
    frames: Newest[int] = Newest(2)
    assert [frames.put(f"camera {n}", n) for n in range(1000)] == [True, True] + 998 * [False]
    assert (frames.take(), frames.take()) == (0, 1)


def test_a_camera_at_thrice_the_pace_of_the_classifier_is_served_with_its_newest_frame() -> None:
    frames: Newest[int] = Newest(16)
    served, given_up = [], 0
    for n in range(3000):
        given_up += not frames.put("door", n)
        if n % 3 == 2:  # the classifier is free again
            served.append((frames.take(), n))
    assert all(frame == now for frame, now in served)  # none of them waited
    assert (len(served), given_up) == (1000, 2000)


def test_closing_ends_the_wait_and_gives_up_what_waits() -> None:
    frames: Newest[int] = Newest(2)
    taken: list[int | None] = []
    taker = threading.Thread(target=lambda: taken.append(frames.take()))
    taker.start()
    frames.close()
    taker.join()
    assert taken == [None]
    assert not frames.put("door", 1)
    assert frames.take() is None
