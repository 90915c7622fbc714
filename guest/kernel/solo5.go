package kernel

import "gocat/internal/abi"

func solo5Call(t *thread) int64 {
	if withSockets && t.rax > abi.CallSnapshot {
		return socketCall(t)
	}
	h := t.rdi
	kind := deviceType(h)
	switch t.rax {
	case abi.CallDevice:
		if kind == 0 {
			return errNOENT
		}
		move(uintptr(t.rsi), entry(h), abi.EntrySize)
		return 0
	case abi.CallInfo:
		to := uintptr(t.rdi)
		store64(to, Target)
		store64(to+8, uint64(bootMemory))
		store64(to+16, uint64(memory.base))
		store64(to+24, uint64(memory.limit))
		store64(to+32, uint64(Timer[1])*1000)
		return 0
	case abi.CallNetRead, abi.CallWaitRead:
		if kind != abi.DeviceNet {
			return errINVAL
		}
		r := netRead(h, uintptr(t.rsi), uintptr(min(t.rdx, maxTransfer)))
		if r == errAGAIN {
			deviceReady &^= 1 << h
			if t.rax == abi.CallWaitRead {
				return t.wait(inRetry, never)
			}
		}
		return r
	case abi.CallNetWrite:
		if kind != abi.DeviceNet {
			return errINVAL
		}
		r := netWrite(h, uintptr(t.rsi), uintptr(min(t.rdx, maxTransfer)))
		if r == errAGAIN {
			return t.wait(inRetry, after(pause))
		}
		return r
	case abi.CallBlockRead, abi.CallBlockWrite:
		if kind != abi.DeviceBlock {
			return errINVAL
		}
		size, end := blockSize(h), capacity(h)
		if size == 0 || t.r10 != size || t.rsi%size != 0 || end < size || t.rsi > end-size {
			return errINVAL
		}
		return blockCall(h, t.rsi, uintptr(t.rdx), uintptr(size), t.rax == abi.CallBlockWrite)
	case abi.CallSnapshot:
		return takeSnapshot(t)
	case abi.CallYield:
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
