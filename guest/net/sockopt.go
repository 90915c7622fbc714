package net

import (
	"encoding/binary"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

const receiveQueueSize = tcpip.ReceiveQueueSizeOption

// socketOption answers what is the same for all sockets, and asks the protocol
// for the rest.
func (s *socket) socketOption(level, name, size int) ([]byte, syscall.Errno) {
	if level == syscall.SOL_SOCKET {
		switch name {
		case syscall.SO_TYPE:
			return number(s.kind()), 0
		case soDomain:
			return number(s.domain()), 0
		case soProtocol:
			return number(s.number()), 0
		case syscall.SO_RCVTIMEO:
			return timeval(s.receiveTimeout.Load()), 0
		case syscall.SO_SNDTIMEO:
			return timeval(s.sendTimeout.Load()), 0
		}
	}
	return s.option(level, name, size)
}

func (s *socket) setSocketOption(level, name int, v []byte) syscall.Errno {
	if level == syscall.SOL_SOCKET {
		switch name {
		case syscall.SO_TYPE, soDomain, soProtocol, syscall.SO_ERROR, syscall.SO_ACCEPTCONN:
			return syscall.ENOPROTOOPT
		case syscall.SO_RCVTIMEO, syscall.SO_SNDTIMEO:
			if len(v) < 16 {
				return syscall.EINVAL
			}
			seconds, micro := int64(binary.NativeEndian.Uint64(v)), int64(binary.NativeEndian.Uint64(v[8:]))
			if micro < 0 || micro >= 1e6 {
				return syscall.EDOM
			}
			const most = int64(1<<63-1) / int64(time.Second)
			n := int64(0) // no timeout, as negative ones are
			if seconds >= 0 && seconds < most {
				n = seconds*int64(time.Second) + micro*int64(time.Microsecond)
			}
			if name == syscall.SO_RCVTIMEO {
				s.receiveTimeout.Store(n)
			} else {
				s.sendTimeout.Store(n)
			}
			return 0
		}
	}
	return s.setOption(level, name, v)
}

func timeval(ns int64) []byte {
	b := binary.NativeEndian.AppendUint64(nil, uint64(ns/int64(time.Second)))
	return binary.NativeEndian.AppendUint64(b, uint64(ns%int64(time.Second)/int64(time.Microsecond)))
}
