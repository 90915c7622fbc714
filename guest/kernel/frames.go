//go:build gocat_net || !gocat_image

package kernel

import (
	_ "unsafe" // for linkname

	"gocat/internal/abi"
)

// Several frames of a network device in one call. Under spt each is still a system
// call. Under gocat's hvt tender they go through the network ring, with one exit
// for all, because exits cost the most there.
//
// A frame is a struct iovec.

// maxFrames bounds the frames of a call: less than the ring has slots.
const maxFrames = 256

// noFrame is the length that marks a missing frame of a call.
const noFrame = 1<<64 - 1

// Ring is where the tender says that the network ring is, which it serves whenever
// the guest writes to its port: 0 is for none. The image's note RNG1 asks for it.
//
//go:linkname Ring
var Ring uint64

// readFrames reads frames of a descriptor's device as far as there are any, and
// sets their lengths. It returns how many it has looked for up to the last that
// there was: of those before, some may be without (input comes meanwhile). Where
// that is fewer than n, the poller tells of more. One of length 0 is the device's
// end.
func readFrames(fd uint64, vec uintptr, n uint64) int64 {
	f := fileOf(fd)
	if f == nil {
		return errBADF
	}
	if f.kind != netDevice || n == 0 || n > maxFrames {
		return errINVAL
	}
	var got int64
	var last int64
	if Target == targetHVT && Ring != 0 {
		got, last = ringRead(f.handle, vec, n)
	} else {
		for i := uintptr(0); i < uintptr(n); i++ {
			v := vec + i*iovecSize
			last = netRead(f.handle, uintptr(load64(v)), uintptr(min(load64(v+8), maxTransfer)))
			if last < 0 {
				break
			}
			store64(v+8, uint64(last))
			got++
			if last == 0 {
				break
			}
		}
	}
	if last == errAGAIN {
		deviceReady &^= 1 << f.handle
		f.armedIn = true
	}
	if got == 0 {
		return last
	}
	return got
}

// writeFrames sends frames, of which it returns the number sent.
func writeFrames(t *thread, handle uint64, vec uintptr, n uint64) int64 {
	if deviceType(handle) != abi.DeviceNet || n == 0 || n > maxFrames {
		return errINVAL
	}
	if Target == targetHVT && Ring != 0 {
		return ringWrite(handle, vec, n)
	}
	for i := uintptr(0); i < uintptr(n); i++ {
		v := vec + i*iovecSize
		r := netWrite(handle, uintptr(load64(v)), uintptr(min(load64(v+8), maxTransfer)))
		switch {
		case r >= 0:
		case i > 0: // the caller goes on with the rest
			return int64(i)
		case r == errAGAIN:
			return t.wait(inRetry, after(pause))
		default:
			return r
		}
	}
	return int64(n)
}

// request puts a request for a frame into the ring.
func request(operation uint32, handle uint64, index uint32, v uintptr) {
	e := uintptr(Ring) + abi.RingEntries + uintptr(index%abi.RingSlots)*abi.RingEntrySize
	store32(e, operation)
	store32(e+4, uint32(handle))
	store64(e+8, load64(v))
	store32(e+16, uint32(min(load64(v+8), maxTransfer)))
	store32(e+20, index)
}

// serve has the tender serve the requests up to index.
func serve(index uint32) {
	store32(uintptr(Ring)+abi.RingEntTail, index)
	out(abi.RingPort, 0)
}

// ringRead is readFrames by the ring, with the last result as well.
func ringRead(handle uint64, vec uintptr, n uint64) (got, last int64) {
	ring := uintptr(Ring)
	first := load32(ring + abi.RingEntTail)
	for i := range uint32(n) {
		request(abi.RingNetRead, handle, first+i, vec+uintptr(i)*iovecSize)
	}
	serve(first + uint32(n))
	head := load32(ring + abi.RingComHead)
	for i := range uint32(n) {
		c := ring + abi.RingResults + uintptr((head+i)%abi.RingSlots)*abi.RingResultSize
		v := vec + uintptr(i)*iovecSize
		if last = hvtResult(uint64(load32(c + 4))); last < 0 {
			store64(v+8, noFrame)
			continue
		}
		store64(v+8, uint64(load32(c+8)))
		got = int64(i) + 1
	}
	store32(ring+abi.RingComHead, head+uint32(n))
	return got, last
}

// ringWrite is writeFrames by the ring, which tells of no result: a frame that the
// host does not take is lost, as on a wire.
func ringWrite(handle uint64, vec uintptr, n uint64) int64 {
	first := load32(uintptr(Ring) + abi.RingEntTail)
	for i := range uint32(n) {
		request(abi.RingNetWrite, handle, first+i, vec+uintptr(i)*iovecSize)
	}
	serve(first + uint32(n))
	return int64(n)
}
