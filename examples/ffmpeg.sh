#!/bin/sh
# Frames of an RTSP camera, a video file, or anything else that ffmpeg reads. Needs ffmpeg and Python.
#
#     sh ffmpeg.sh rtsp://user:password@camera.lan/stream door 2
#     sh ffmpeg.sh film.mp4 door
#
# Two frames a second by default. A camera that goes away is waited for; a file is played once, at its own pace.
# BOARD=http://board.lan:8080 names another board, TOKEN_FILE=/etc/lastlayer/token what it wants to see.
set -u
source=${1:?usage: ffmpeg.sh SOURCE CAMERA [FRAMES_PER_SECOND]}
camera=${2:?usage: ffmpeg.sh SOURCE CAMERA [FRAMES_PER_SECOND]}
rate=${3:-2}
here=$(dirname "$0")

set -- # what ffmpeg needs to read this source
case $source in
    rtsp://*) set -- -rtsp_transport tcp -timeout 10000000 ;; # microseconds without a packet
    *) if [ -f "$source" ]; then set -- -re; fi ;;
esac

frames() {
    # 480 lines are more than any backbone looks at, and quickly sent.
    ffmpeg -nostdin -hide_banner -loglevel error "$@" -i "$source" -an \
        -vf "fps=$rate,scale=-2:'min(480,ih)'" -c:v mjpeg -q:v 3 -f mpjpeg -
}

# One sender, however often ffmpeg has to begin anew.
{
    frames "$@"
    while [ ! -f "$source" ]; do
        sleep 5
        echo # between two pictures it says nothing, and it ends this loop where no sender listens any more
        frames "$@"
    done
} | python3 "$here/push.py" --url "${BOARD:-http://127.0.0.1:8080}" --camera="$camera" \
    ${TOKEN_FILE:+--token-file "$TOKEN_FILE"} -
