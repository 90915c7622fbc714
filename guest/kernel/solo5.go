package kernel

// Calls of the kernel's own, for package guest/solo5. Linux has no such numbers
// and answers ENOSYS.
const (
	sysSolo5 = 0x534f3500

	callDevice     = sysSolo5 + 0 // handle, to: copies the entry of the manifest
	callInfo       = sysSolo5 + 1 // to: target, memory, its free start and end, ns between ticks
	callNetRead    = sysSolo5 + 2 // handle, to, n
	callNetWrite   = sysSolo5 + 3 // handle, from, n
	callBlockRead  = sysSolo5 + 4 // handle, offset, to, n
	callBlockWrite = sysSolo5 + 5 // handle, offset, from, n
	callYield      = sysSolo5 + 6 // deadline, set of handles: those ready
	callWaitRead   = sysSolo5 + 7 // handle, to, n: netRead, waiting until there is input
)

func solo5Call(t *thread) int64 {
	h := t.rdi
	kind := deviceType(h)
	switch t.rax {
	case callDevice:
		if kind == 0 {
			return errNOENT
		}
		move(uintptr(t.rsi), entry(h), mftEntry)
		return 0
	case callInfo:
		to := uintptr(t.rdi)
		store64(to, Target)
		store64(to+8, uint64(bootMemory))
		store64(to+16, uint64(memory.base))
		store64(to+24, uint64(memory.limit))
		store64(to+32, uint64(Timer[1])*1000)
		return 0
	case callNetRead, callWaitRead:
		if kind != typeNet {
			return errINVAL
		}
		r := netRead(h, uintptr(t.rsi), uintptr(min(t.rdx, maxTransfer)))
		if r == errAGAIN {
			deviceReady &^= 1 << h
			if t.rax == callWaitRead {
				return t.wait(inRetry, never)
			}
		}
		return r
	case callNetWrite:
		if kind != typeNet {
			return errINVAL
		}
		r := netWrite(h, uintptr(t.rsi), uintptr(min(t.rdx, maxTransfer)))
		if r == errAGAIN {
			return t.wait(inRetry, after(pause))
		}
		return r
	case callBlockRead, callBlockWrite:
		if kind != typeBlock {
			return errINVAL
		}
		size, end := blockSize(h), capacity(h)
		if size == 0 || t.r10 != size || t.rsi%size != 0 || end < size || t.rsi > end-size {
			return errINVAL
		}
		return blockCall(h, t.rsi, uintptr(t.rdx), uintptr(size), t.rax == callBlockWrite)
	case callYield:
		return solo5Yield(t, int64(t.rdi), t.rsi)
	}
	return errNOSYS
}

// solo5Yield waits until a device of the set has input or the monotonic clock
// shows deadline, and returns those that have. 0 does not wait.
func solo5Yield(t *thread, deadline int64, set uint64) int64 {
	const all = 1<<63 - 1 // the result is not negative: there is no device 63 in it
	if !t.again {
		deviceReady |= pollHost(0)
	}
	if ready := deviceReady & set & all; ready != 0 || deadline <= 0 {
		return int64(ready)
	}
	return t.wait(inPoll, deadline)
}
