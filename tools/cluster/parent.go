package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

const parentVariable = "CLUSTER_PARENT_PID"

// endWithParent kills this process soon after the process named by CLUSTER_PARENT_PID is no longer its parent.
//
// PR_SET_PDEATHSIG would do so at once, but it fires when the parent's *thread* ends, and a test that starts a
// component from a thread pool would lose it with the pool.
func endWithParent() {
	value := os.Getenv(parentVariable)
	if value == "" {
		return
	}
	parent, err := strconv.Atoi(value)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s is %q, not a process id\n", parentVariable, value)
		os.Exit(2)
	}
	go func() {
		for os.Getppid() == parent {
			time.Sleep(200 * time.Millisecond)
		}
		fmt.Fprintf(os.Stderr, "the parent process %d is gone\n", parent)
		os.Exit(1)
	}()
}
