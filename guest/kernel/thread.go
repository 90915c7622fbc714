package kernel

import "unsafe" // for linkname too

// maxThreads bounds the threads, which are Go's Ms: one for each goroutine that
// is locked to a thread, and a handful of others.
const maxThreads = 2048

// State of a thread.
const (
	unused     = iota
	running    // also when it is in the queue
	inFutex    // until somebody wakes word, or the deadline
	asleep     // until the deadline
	inPoll     // epoll_pwait, poll or yield: until a descriptor is ready, or the deadline
	inSnapshot // until one was taken, or was not
	inRetry    // a call on a descriptor, made again when any is ready, or at the deadline
)

const never = 1<<63 - 1 // deadline

type thread struct {
	registers
	signals
	tls      uint64 // the word at the thread pointer - 8, Go's g, while it does not run
	state    uint8
	again    bool  // the call was made before and waited; deadline is from then
	deadline int64 // ns, monotonic
	word     uintptr
	serial   uint64 // order of waiting
	queued   int32  // next in the queue
}

var (
	threads  [maxThreads]thread
	current  int32
	top      int32 // threads from here on are unused
	head     int32 // of the queue, -1 when it is empty
	tail     int32
	timed    int32 // threads that have a deadline
	waiting  int32 // threads inPoll, inSnapshot or inRetry
	changed  bool  // a descriptor that they may wait for
	serial   uint64
	nextTime int64 // no deadline is before this
)

// tlsSlot is where running threads have their word, 0 before it is set.
//
//go:linkname tlsSlot
var tlsSlot uintptr

func resetThreads() {
	threads[0] = thread{state: running}
	current, top, head, tail = 0, 1, -1, -1
	timed, waiting, changed, tlsSlot, nextTime = 0, 0, false, 0, never
	Current = uintptr(unsafe.Pointer(&threads[0].registers))
}

// index is t's place in threads.
func (t *thread) index() int32 {
	return int32((uintptr(unsafe.Pointer(t)) - uintptr(unsafe.Pointer(&threads[0]))) / unsafe.Sizeof(*t))
}

// ready makes t run after those that are ready already.
func (t *thread) ready() {
	i := t.index()
	t.state, t.queued = running, -1
	if head < 0 {
		head = i
	} else {
		threads[tail].queued = i
	}
	tail = i
}

// wait makes t, which runs, wait in state until deadline.
func (t *thread) wait(state uint8, deadline int64) int64 {
	t.state, t.deadline = state, deadline
	serial++
	t.serial = serial
	if deadline != never {
		timed++
		nextTime = min(nextTime, deadline)
	}
	if state >= inPoll {
		waiting++
	}
	return block
}

// wake ends t's waiting.
func (t *thread) wake() {
	if t.deadline != never {
		timed--
	}
	if t.state >= inPoll {
		waiting--
	}
	t.ready()
}

// runnable wakes the threads whose time has come, and says whether a thread
// other than the running one can run.
func runnable() bool {
	if timed > 0 {
		if now := monotonic(); now >= nextTime {
			wakeTimed(now)
		}
	}
	if waiting > 0 {
		wakeReady(pollHost(0))
	}
	return head >= 0
}

// schedule chooses the thread to run and returns when there is one.
func schedule() {
	if changed {
		wakeReady(0)
	}
	for head < 0 {
		takeAsked()
		if shared != 0 {
			if interruptWait(); head >= 0 {
				break
			}
		}
		if asking {
			askSnapshot()
			continue
		}
		if timed == 0 {
			nextTime = never
		} else if now := monotonic(); now >= nextTime {
			wakeTimed(now)
			continue
		}
		wakeReady(pollHost(nextTime))
	}
	i := head
	head = threads[i].queued
	if i == current {
		return
	}
	if tlsSlot != 0 {
		threads[current].tls = load64(tlsSlot)
		store64(tlsSlot, threads[i].tls)
	}
	current = i
	Current = uintptr(unsafe.Pointer(&threads[i].registers))
}

// wakeTimed wakes the threads whose deadline is not after now.
func wakeTimed(now int64) {
	next := int64(never)
	for i := int32(0); i < top; i++ {
		t := &threads[i]
		if t.state <= running || t.deadline == never {
			continue
		}
		if t.deadline > now {
			next = min(next, t.deadline)
			continue
		}
		switch t.state {
		case inFutex:
			t.rax = minus(errTIMEOUT)
		case asleep, inPoll:
			t.rax = 0
		case inRetry:
			retry(t)
			if t.state == inRetry {
				next = min(next, t.deadline)
			}
			continue
		}
		t.wake()
	}
	nextTime = next
}

// minus is a negative result as a register holds it.
func minus(e int64) uint64 { return uint64(e) }

// retry makes the call of a waiting thread again.
func retry(t *thread) {
	if t.deadline != never {
		timed--
	}
	waiting--
	t.state, t.again = running, true
	r := syscall(t)
	t.again = false
	if r != block {
		t.rax = uint64(r)
		t.ready()
	}
}

// wakeReady looks again at what threads wait for, after the devices in the set
// became ready or a descriptor changed.
func wakeReady(ready uint64) {
	deviceReady |= ready
	changed = false
	for i := int32(0); i < top && waiting > 0; i++ {
		if s := threads[i].state; s == inPoll || s == inRetry {
			retry(&threads[i])
		}
	}
}

// clone starts a thread that differs from its parent in its stack and in its
// result, which is 0. Go sets the thread pointer's word itself.
func clone(t *thread, flags, stack uint64) int64 {
	const (
		vm    = 0x100
		thr   = 0x10000
		child = 0x01000000 | 0x00200000 // CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID
	)
	if flags&thr == 0 { // a process
		return errNOSYS
	}
	if flags&vm == 0 || flags&child != 0 || stack == 0 {
		return errINVAL
	}
	i := int32(0)
	for i < top && threads[i].state != unused {
		i++
	}
	if i == maxThreads {
		return errAGAIN
	}
	top = max(top, i+1)
	n := &threads[i]
	*n = thread{registers: t.registers, signals: signals{blocked: t.blocked}}
	n.rax, n.rsp = 0, stack
	n.ready()
	return int64(i) + 1
}

// exitThread ends the running thread, and the program with the last one.
func exitThread(t *thread, status uint64) int64 {
	t.state = unused
	for top > 0 && threads[top-1].state == unused {
		top--
	}
	if top == 0 {
		exit(status)
	}
	return block
}

// Operations of futex.
const (
	futexWait    = 0
	futexWake    = 1
	futexPrivate = 128
)

func futex(t *thread, addr uintptr, op, val uint64, timeout uintptr) int64 {
	switch op &^ futexPrivate {
	case futexWait:
		if load32(addr) != uint32(val) {
			return errAGAIN
		}
		deadline := int64(never)
		if timeout != 0 {
			deadline = after(timespec(timeout))
		}
		t.word = addr
		return t.wait(inFutex, deadline)
	case futexWake:
		n := int64(0)
		for ; n < int64(val); n++ {
			var first *thread
			for i := int32(0); i < top; i++ {
				w := &threads[i]
				if w.state == inFutex && w.word == addr && (first == nil || w.serial < first.serial) {
					first = w
				}
			}
			if first == nil {
				break
			}
			first.rax = 0
			first.wake()
		}
		return n
	}
	return errNOSYS
}
