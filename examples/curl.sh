#!/bin/sh
# Asks an IP camera for a picture every few seconds and pushes it to the board. Needs curl.
#
#     sh curl.sh http://camera.lan/snapshot.jpg door 2
#
# BOARD=http://board.lan:8080 names another board, TOKEN_FILE=/etc/lastlayer/token what it wants to see.
set -u
snapshot=${1:?usage: curl.sh SNAPSHOT_URL CAMERA [SECONDS]}
camera=${2:?usage: curl.sh SNAPSHOT_URL CAMERA [SECONDS]}
every=${3:-2}
board=${BOARD:-http://127.0.0.1:8080}
picture=$(mktemp)
trap 'rm -f "$picture"' EXIT
trap 'exit 130' INT TERM

while :; do
    # What the camera does not give in 10 s is not sent: the next picture is newer anyway.
    if curl -fsS --max-time 10 -o "$picture" "$snapshot"; then
        # The token is read from stdin, so that no list of processes shows it. The camera goes as a field of a form, where
        # nothing has to be encoded; --url-query would need curl 7.87.
        if [ -n "${TOKEN_FILE:-}" ]; then printf 'header = "Authorization: Bearer %s"\n' "$(cat "$TOKEN_FILE")"; fi |
            curl -sS --config - --max-time 10 --retry 3 --retry-connrefused \
                --form-string "camera=$camera" -F "image=@$picture" "$board/v1/frames" && echo
    fi
    sleep "$every"
done
