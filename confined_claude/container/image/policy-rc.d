#!/bin/sh
# Tells invoke-rc.d that this policy forbids the action.
exit 101
