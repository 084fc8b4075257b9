#!/bin/sh
# Frames of a USB camera (V4L2) that gives JPEG, as nearly all do: they are passed on without being decoded here.
# Needs ffmpeg and Python.
#
#     sh v4l2.sh /dev/video0 door 0.5
#
# One frame in half a second by default. `v4l2-ctl --list-formats-ext` says what a camera can do; for one without MJPEG:
# ffmpeg -f v4l2 -i /dev/video0 -vf fps=2 -f mpjpeg - | python3 push.py --camera door -
set -u
device=${1:?usage: v4l2.sh DEVICE CAMERA [SECONDS]}
camera=${2:?usage: v4l2.sh DEVICE CAMERA [SECONDS]}
here=$(dirname "$0")

if [ ! -c "$device" ]; then
    echo "$device is no camera; there are: $(ls /dev/video* 2>/dev/null || echo none)" >&2
    exit 1
fi
# mjpeg2jpeg adds the tables that cameras leave out.
ffmpeg -nostdin -hide_banner -loglevel error -f v4l2 -input_format mjpeg -video_size "${SIZE:-640x480}" -i "$device" \
    -c:v copy -bsf:v mjpeg2jpeg -f mpjpeg - |
    python3 "$here/push.py" --url "${BOARD:-http://127.0.0.1:8080}" --camera="$camera" --every "${3:-0.5}" \
        ${TOKEN_FILE:+--token-file "$TOKEN_FILE"} -
