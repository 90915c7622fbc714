package abi

// Calls of the library kernel of Go guests (guest/kernel), for package
// guest/solo5. Linux has no such numbers and answers ENOSYS.
const (
	CallDevice     = 0x534f3500 + iota // handle, to: copies the entry of the manifest
	CallInfo                           // to: target, memory, its free start and end, ns between ticks
	CallNetRead                        // handle, to, n
	CallNetWrite                       // handle, from, n
	CallBlockRead                      // handle, offset, to, n
	CallBlockWrite                     // handle, offset, from, n
	CallYield                          // deadline, set of handles: those ready
	CallWaitRead                       // handle, to, n: CallNetRead, waiting until there is input
	CallSnapshot                       // : asks for a snapshot; 1 in a clone of it, 0 in what goes on

	// Of images with sockets alone.
	CallTold        // : how often the poller has been told of sockets, modulo 1<<32
	CallPoll        // pollfds, n, timeout in ns, CallTold's before: poll except for sockets; EAGAIN if it was told meanwhile
	CallSocket      // least, whether to close that: the lowest free descriptor from there on, for a socket
	CallNotify      // descriptor, events: what the poller must report of it
	CallReadFrames  // descriptor, iovecs, n: frames of a network device; how many it has looked for
	CallWriteFrames // handle, iovecs, n: how many were sent
	CallWord        // index, to, n: a word of the command line that is for the network; its length
)
