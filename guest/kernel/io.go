package kernel

import "gocat/internal/abi"

// maxTransfer bounds one read or write in bytes, as Linux does.
const maxTransfer = 1 << 30

// pause is how long a write that the host refuses for now waits before it is
// tried again, in ns: Solo5 tells of input only.
const pause = 200_000

func read(t *thread, fd uint64, to, n uintptr) int64 {
	f := fileOf(fd)
	if f == nil {
		return errBADF
	}
	o := f.shared()
	if n = min(n, maxTransfer); n == 0 {
		return 0
	}
	var r int64
	switch f.kind {
	case null:
		return 0
	case regular:
		if o.access == 1 {
			return errBADF
		}
		r = at(f.node).readAt(to, n, o.offset)
		o.offset += uint64(max(r, 0))
		return r
	case directory:
		return errISDIR
	case zeros:
		zero(to, n)
		return int64(n)
	case randoms:
		return getrandom(to, n)
	case netDevice:
		r = netRead(f.handle, to, n)
	case blockDevice:
		r = blockFile(f, to, n, o.offset, false)
		o.offset += uint64(max(r, 0))
		return r
	case pipeReader:
		r = readPipe(f, to, n)
	case eventFD:
		if n < 8 {
			return errINVAL
		}
		if r = errAGAIN; o.offset > 0 {
			store64(to, o.offset)
			o.offset = 0
			r = 8
		}
	default:
		return errINVAL
	}
	if r != errAGAIN {
		return r
	}
	if f.kind == netDevice {
		deviceReady &^= 1 << f.handle
	}
	f.armedIn = true
	if o.nonblock {
		return r
	}
	return t.wait(inRetry, never)
}

func write(t *thread, fd uint64, from, n uintptr) int64 {
	f := fileOf(fd)
	if f == nil {
		return errBADF
	}
	o := f.shared()
	n = min(n, maxTransfer)
	var r int64
	switch f.kind {
	case null, zeros, randoms:
		return int64(n)
	case regular:
		if o.access == 0 {
			return errBADF
		}
		d := at(f.node)
		if o.append {
			o.offset = uint64(d.size)
		}
		r = d.writeAt(from, n, o.offset)
		o.offset += uint64(max(r, 0))
		return r
	case directory:
		return errBADF
	case console:
		r = consoleWrite(from, n)
	case netDevice:
		r = netWrite(f.handle, from, n)
	case blockDevice:
		r = blockFile(f, from, n, o.offset, true)
		o.offset += uint64(max(r, 0))
		return r
	case pipeWriter:
		r = writePipe(f, from, n)
	case eventFD:
		if n < 8 {
			return errINVAL
		}
		o.offset += load64(from)
		changed = true
		return 8
	default:
		return errINVAL
	}
	if r != errAGAIN {
		return r
	}
	switch {
	case f.kind != pipeWriter: // also when it must not block: nothing would tell it to go on
		return t.wait(inRetry, after(pause))
	case o.nonblock:
		f.armedOut = true
		return r
	}
	return t.wait(inRetry, never)
}

// transferAt is pread64 and pwrite64.
func transferAt(fd uint64, p, n uintptr, offset uint64, writing bool) int64 {
	f := fileOf(fd)
	if f == nil {
		return errBADF
	}
	o := f.shared()
	n = min(n, maxTransfer)
	switch {
	case int64(offset) < 0:
		return errINVAL
	case f.kind == regular && writing && o.access != 0:
		return at(f.node).writeAt(p, n, offset)
	case f.kind == regular && !writing && o.access != 1:
		return at(f.node).readAt(p, n, offset)
	case f.kind == regular:
		return errBADF
	case f.kind == directory:
		return errISDIR
	case f.kind == null && !writing:
		return 0
	case f.kind != blockDevice:
		return errSPIPE
	}
	return blockFile(f, p, n, offset, writing)
}

// Layout of struct iovec.
const (
	iovecSize = 16
	maxIovecs = 1024
)

// readv and writev transfer the first piece that is not empty: short transfers
// are legal, and callers go on with the rest.
func vector(t *thread, fd uint64, vec uintptr, n uint64, writing bool) int64 {
	if n > maxIovecs {
		return errINVAL
	}
	for i := range uintptr(n) {
		p, size := uintptr(load64(vec+i*iovecSize)), uintptr(load64(vec+i*iovecSize+8))
		if size == 0 {
			continue
		}
		if writing {
			return write(t, fd, p, size)
		}
		return read(t, fd, p, size)
	}
	return 0
}

func capacity(handle uint64) uint64  { return load64(entry(handle) + abi.EntryCapacity) }
func blockSize(handle uint64) uint64 { return uint64(load16(entry(handle) + abi.EntryBlockSize)) }

// bounce holds a block of which a part is transferred. Block sizes are 16 bits.
var bounce [1 << 16]byte

// blockFile transfers n bytes at any offset of a block device, in whole blocks.
// Reading ends at the device's end, writing there is an error.
func blockFile(f *file, p, n uintptr, offset uint64, writing bool) int64 {
	size, end := blockSize(f.handle), capacity(f.handle)
	if size == 0 {
		return errIO
	}
	end -= end % size
	if offset >= end {
		if writing && n > 0 {
			return errNOSPC
		}
		return 0
	}
	n = uintptr(min(uint64(n), end-offset))
	done := uintptr(0)
	for done < n {
		at := offset + uint64(done)
		skip := at % size
		part := min(uintptr(size-skip), n-done)
		var r int64
		if uint64(part) == size {
			r = blockCall(f.handle, at, p+done, uintptr(size), writing)
		} else {
			b := bounceAddress()
			if r = blockCall(f.handle, at-skip, b, uintptr(size), false); r >= 0 {
				if writing {
					move(b+uintptr(skip), p+done, part)
					r = blockCall(f.handle, at-skip, b, uintptr(size), true)
				} else {
					move(p+done, b+uintptr(skip), part)
				}
			}
		}
		if r < 0 {
			if done > 0 {
				break
			}
			return r
		}
		done += part
	}
	return int64(done)
}
