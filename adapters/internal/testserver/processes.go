//go:build unix

package testserver

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// children returns the processes that a process has started.
func children(parent int) (pids []int) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		list, _ := exec.Command("ps", "-A", "-o", "pid=", "-o", "ppid=").Output() //nolint:noctx // it ends by itself
		for line := range strings.Lines(string(list)) {
			var pid, of int
			if n, _ := fmt.Sscan(line, &pid, &of); n == 2 && of == parent {
				pids = append(pids, pid)
			}
		}
		return pids
	}
	files, _ := filepath.Glob("/proc/[0-9]*")
	for _, file := range files {
		pid, _ := strconv.Atoi(filepath.Base(file))
		if _, of := processStatus(pid); of == parent {
			pids = append(pids, pid)
		}
	}
	return pids
}

// processStatus returns the state of a process, as a letter, and its parent.
func processStatus(pid int) (state string, parent int) {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // pid (name) state parent …
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 2 {
		return "", 0
	}
	parent, _ = strconv.Atoi(fields[1])
	return fields[0], parent
}

// isRunning reports whether a process runs. A process that has ended stays in the list of processes, as a zombie, until
// its parent waits for it.
func isRunning(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	state, _ := processStatus(pid)
	return state != "Z"
}
