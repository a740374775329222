#!/bin/sh
# 101: an action that this policy forbids (invoke-rc.d's own code for it).
exit 101
