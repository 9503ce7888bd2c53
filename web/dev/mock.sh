#!/bin/sh
# restarts the mock
kill $(cat /tmp/web-shots/mock.pid) 2>/dev/null; cd "$(dirname "$0")/.."; SLOW=${SLOW:-0} setsid node dev/mock.mjs >/tmp/web-shots/mock.log 2>&1 & echo $! > /tmp/web-shots/mock.pid; sleep 0.7
