package gateway

import "time"

// What one guest, or the network outside, can make the process hold. Each of
// these bounds is reached by a test (limits_test.go).
const (
	maxPorts       = 64      // guests of a network
	maxAddresses   = 8       // of each family that a guest may use, beside the assigned one
	maxQueue       = 4 << 20 // bytes of frames that wait for a guest to read them
	maxNeighbours  = 2 << 20 // of them that come from other guests, so that the gateway's have room
	maxBroadcast   = 1 << 18 // of them that go to everybody
	maxPending     = 256     // connections that guests of a network are making
	maxConnections = 2048    // of one guest, both ways
	maxFlows       = 512     // UDP flows of one guest, both ways each
	maxPings       = 32      // of one guest that wait for answers
	maxQueries     = 128     // DNS queries of one guest that wait for answers
	maxName        = 63      // bytes of a guest's name (RFC 1035)
)

// How long things last that end by themselves; each of them has a test too.
const (
	dialTime       = 20 * time.Second     // to make a connection
	youth          = 5 * time.Second      // after its start a guest may still be about to listen
	patience       = 4 * time.Millisecond // at first, for it to answer a connection; later an eighth longer each time
	udpIdle        = 60 * time.Second
	pingIdle       = 10 * time.Second
	queryTime      = 3 * time.Second // for each name server
	timeWait       = time.Second     // of connections that the gateway closed first
	lingerTime     = 20 * time.Second
	handshakeTries = 3                // repetitions of what a guest does not answer: 15 seconds together
	unacked        = 30 * time.Second // a guest that acknowledges nothing for so long has lost its connection
	drainTime      = time.Second      // to pass on what a guest sent before it ended
)

// connectionBuffer is the size in bytes of each of the two buffers of a guest's
// connection number n: a few may be fast, many must be small. 2048 have 88 MiB each
// way.
func connectionBuffer(n int) int {
	switch {
	case n < 16:
		return 512 << 10
	case n < 64:
		return 256 << 10
	case n < 256:
		return 64 << 10
	}
	return 32 << 10
}

// share is how many connections a guest may have among others.
func share(total, ports int) int {
	return min(maxConnections, total/max(ports, 1))
}
