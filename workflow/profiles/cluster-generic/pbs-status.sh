#!/bin/sh
# What has become of a job of PBS or Torque: running, success or failed.

# PBS shows jobs that have ended with -x only; to Torque, that means XML
said=$(qstat -f -x "$1" 2> /dev/null)
code=$?
case $said in
*"<"*) said=$(qstat -f "$1") ;;
esac

state=$(echo "$said" | sed -n 's/^[[:space:]]*job_state = //p')
status=$(echo "$said" | sed -n 's/^[[:space:]]*[Ee]xit_status = //p')

case $state in
C | F | X) [ "$status" = 0 ] && echo success || echo failed ;;
# 153 says that there is no such job; anything else, that the server is busy
"") [ $code = 153 ] && echo failed || echo running ;;
*) echo running ;;
esac
