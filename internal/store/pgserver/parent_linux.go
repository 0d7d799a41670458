package pgserver

import "syscall"

// dieWithParent has a process killed when the thread ends that started it.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
