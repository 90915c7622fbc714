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

// request puts a request for a frame of n bytes at p into the ring.
func request(operation uint32, handle uint64, index uint32, p, n uint64) {
	e := uintptr(Ring) + abi.RingEntries + uintptr(index%abi.RingSlots)*abi.RingEntrySize
	store32(e, operation)
	store32(e+4, uint32(handle))
	store64(e+8, p)
	store32(e+16, uint32(min(n, maxTransfer)))
	store32(e+20, index)
}

// serve has the tender serve the requests up to index.
func serve(index uint32) {
	store32(uintptr(Ring)+abi.RingEntTail, index)
	out(abi.RingPort, 0)
	served()
}

// Small frames that follow one another closely, such as a busy server's answers, wait in
// the ring for the next exit: another frame's, a poll, or that of the first call of the
// kernel after the first of them has waited for as long as a few exits take. A frame that
// follows none does not wait.
const (
	mostQueued = 32
	queueSize  = 32 << 10 // bytes
	exits      = 4        // so long
	longest    = 5000     // but at most a second divided by this
)

var queue struct {
	frames uint32
	used   uintptr
	since  uint64 // the counter when the first was put in
	last   uint64 // and when the latest frame was sent
	exit   uint64 // counts that an exit takes with which a frame is sent
	bytes  [queueSize / 8]uint64
}

// company is how long a frame may wait, in counts.
func company() uint64 { return min(exits*queue.exit, cycleHz/longest) }

// served empties the queue: the tender has served the ring.
func served() { queue.frames, queue.used = 0, 0 }

// sendQueued has the tender serve the ring if the queue has waited long enough, or now.
func sendQueued(now bool) {
	if queue.frames != 0 && (now || rdtsc()-queue.since > company()) {
		out(abi.RingPort, 0)
		served()
	}
}

// enqueue puts frames into the queue, if they are to wait and there is room.
func enqueue(handle uint64, vec uintptr, n uint64) bool {
	now := rdtsc()
	close := now-queue.last < company()
	queue.last = now
	size := uintptr(0)
	for i := range uintptr(n) {
		size += uintptr(min(load64(vec+i*iovecSize+8), queueSize+1))
	}
	if !close || n > mostQueued-uint64(queue.frames) || size > queueSize-queue.used {
		return false
	}
	if queue.frames == 0 {
		queue.since = now
	}
	index := load32(uintptr(Ring) + abi.RingEntTail)
	for i := range uint32(n) {
		v := vec + uintptr(i)*iovecSize
		at := address64(&queue.bytes[0]) + queue.used
		move(at, uintptr(load64(v)), uintptr(load64(v+8)))
		request(abi.RingNetWrite, handle, index+i, uint64(at), load64(v+8))
		queue.used += uintptr(load64(v + 8))
	}
	store32(uintptr(Ring)+abi.RingEntTail, index+uint32(n))
	queue.frames += uint32(n)
	return true
}

// ringRead is readFrames by the ring, with the last result as well.
func ringRead(handle uint64, vec uintptr, n uint64) (got, last int64) {
	ring := uintptr(Ring)
	first := load32(ring + abi.RingEntTail)
	for i := range uint32(n) {
		v := vec + uintptr(i)*iovecSize
		request(abi.RingNetRead, handle, first+i, load64(v), load64(v+8))
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
	if enqueue(handle, vec, n) {
		sendQueued(false)
		return int64(n)
	}
	first := load32(uintptr(Ring) + abi.RingEntTail)
	for i := range uint32(n) {
		v := vec + uintptr(i)*iovecSize
		request(abi.RingNetWrite, handle, first+i, load64(v), load64(v+8))
	}
	before := rdtsc()
	serve(first + uint32(n))
	queue.exit += (rdtsc()-before)/8 - queue.exit/8
	return int64(n)
}
