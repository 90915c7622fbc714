package net

import (
	"encoding/binary"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// Options that package syscall lacks (Linux asm-generic/socket.h, in.h, in6.h,
// tcp.h).
const (
	soReusePort    = 15
	soProtocol     = 38
	soDomain       = 39
	ipv6RecvError  = 25
	tcpUserTimeout = 18
	tcpFastOpen    = 23
)

type optionName struct{ level, name int }

// flag is an option that is on or off.
type flag struct {
	get func(*tcpip.SocketOptions) bool
	set func(*tcpip.SocketOptions, bool)
}

var flags = map[optionName]flag{
	{syscall.SOL_SOCKET, syscall.SO_REUSEADDR}: {(*tcpip.SocketOptions).GetReuseAddress, (*tcpip.SocketOptions).SetReuseAddress},
	{syscall.SOL_SOCKET, soReusePort}:          {(*tcpip.SocketOptions).GetReusePort, (*tcpip.SocketOptions).SetReusePort},
	{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE}: {(*tcpip.SocketOptions).GetKeepAlive, (*tcpip.SocketOptions).SetKeepAlive},
	{syscall.SOL_SOCKET, syscall.SO_BROADCAST}: {(*tcpip.SocketOptions).GetBroadcast, (*tcpip.SocketOptions).SetBroadcast},
	{syscall.SOL_SOCKET, syscall.SO_NO_CHECK}:  {(*tcpip.SocketOptions).GetNoChecksum, (*tcpip.SocketOptions).SetNoChecksum},
	{syscall.SOL_SOCKET, syscall.SO_PASSCRED}:  {(*tcpip.SocketOptions).GetPassCred, (*tcpip.SocketOptions).SetPassCred},

	{syscall.IPPROTO_TCP, syscall.TCP_NODELAY}: {
		func(o *tcpip.SocketOptions) bool { return !o.GetDelayOption() },
		func(o *tcpip.SocketOptions, v bool) { o.SetDelayOption(!v) }},
	{syscall.IPPROTO_TCP, syscall.TCP_CORK}:     {(*tcpip.SocketOptions).GetCorkOption, (*tcpip.SocketOptions).SetCorkOption},
	{syscall.IPPROTO_TCP, syscall.TCP_QUICKACK}: {(*tcpip.SocketOptions).GetQuickAck, (*tcpip.SocketOptions).SetQuickAck},

	{syscall.IPPROTO_IP, syscall.IP_MULTICAST_LOOP}: {(*tcpip.SocketOptions).GetMulticastLoop, (*tcpip.SocketOptions).SetMulticastLoop},
	{syscall.IPPROTO_IP, syscall.IP_RECVTOS}:        {(*tcpip.SocketOptions).GetReceiveTOS, (*tcpip.SocketOptions).SetReceiveTOS},
	{syscall.IPPROTO_IP, syscall.IP_RECVTTL}:        {(*tcpip.SocketOptions).GetReceiveTTL, (*tcpip.SocketOptions).SetReceiveTTL},
	{syscall.IPPROTO_IP, syscall.IP_PKTINFO}:        {(*tcpip.SocketOptions).GetReceivePacketInfo, (*tcpip.SocketOptions).SetReceivePacketInfo},
	{syscall.IPPROTO_IP, syscall.IP_HDRINCL}:        {(*tcpip.SocketOptions).GetHeaderIncluded, (*tcpip.SocketOptions).SetHeaderIncluded},
	{syscall.IPPROTO_IP, syscall.IP_RECVERR}:        {(*tcpip.SocketOptions).GetIPv4RecvError, (*tcpip.SocketOptions).SetIPv4RecvError},

	{syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY}:         {(*tcpip.SocketOptions).GetV6Only, (*tcpip.SocketOptions).SetV6Only},
	{syscall.IPPROTO_IPV6, syscall.IPV6_MULTICAST_LOOP}: {(*tcpip.SocketOptions).GetMulticastLoop, (*tcpip.SocketOptions).SetMulticastLoop},
	{syscall.IPPROTO_IPV6, syscall.IPV6_RECVPKTINFO}:    {(*tcpip.SocketOptions).GetIPv6ReceivePacketInfo, (*tcpip.SocketOptions).SetIPv6ReceivePacketInfo},
	{syscall.IPPROTO_IPV6, syscall.IPV6_RECVHOPLIMIT}:   {(*tcpip.SocketOptions).GetReceiveHopLimit, (*tcpip.SocketOptions).SetReceiveHopLimit},
	{syscall.IPPROTO_IPV6, syscall.IPV6_RECVTCLASS}:     {(*tcpip.SocketOptions).GetReceiveTClass, (*tcpip.SocketOptions).SetReceiveTClass},
	{syscall.IPPROTO_IPV6, ipv6RecvError}:               {(*tcpip.SocketOptions).GetIPv6RecvError, (*tcpip.SocketOptions).SetIPv6RecvError},
}

// numbers are the options that the stack keeps as whole numbers.
var numbers = map[optionName]tcpip.SockOptInt{
	{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT}:          tcpip.KeepaliveCountOption,
	{syscall.IPPROTO_TCP, syscall.TCP_MAXSEG}:           tcpip.MaxSegOption,
	{syscall.IPPROTO_TCP, syscall.TCP_SYNCNT}:           tcpip.TCPSynCountOption,
	{syscall.IPPROTO_TCP, syscall.TCP_WINDOW_CLAMP}:     tcpip.TCPWindowClampOption,
	{syscall.IPPROTO_IP, syscall.IP_TOS}:                tcpip.IPv4TOSOption,
	{syscall.IPPROTO_IP, syscall.IP_TTL}:                tcpip.IPv4TTLOption,
	{syscall.IPPROTO_IP, syscall.IP_MULTICAST_TTL}:      tcpip.MulticastTTLOption,
	{syscall.IPPROTO_IP, syscall.IP_MTU_DISCOVER}:       tcpip.MTUDiscoverOption,
	{syscall.IPPROTO_IPV6, syscall.IPV6_TCLASS}:         tcpip.IPv6TrafficClassOption,
	{syscall.IPPROTO_IPV6, syscall.IPV6_UNICAST_HOPS}:   tcpip.IPv6HopLimitOption,
	{syscall.IPPROTO_IPV6, syscall.IPV6_MULTICAST_HOPS}: tcpip.MulticastTTLOption,
	{syscall.IPPROTO_IPV6, syscall.IPV6_MTU_DISCOVER}:   tcpip.MTUDiscoverOption,
}

// value is an option's value as a number: four bytes, or one, as IP takes too.
func value(level int, v []byte) (int, syscall.Errno) {
	switch {
	case len(v) >= 4:
		return int(int32(binary.NativeEndian.Uint32(v))), 0
	case len(v) >= 1 && level == syscall.IPPROTO_IP:
		return int(v[0]), 0
	}
	return 0, syscall.EINVAL
}

func number(v int) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(v)) }

func truth(v bool) []byte {
	if v {
		return number(1)
	}
	return number(0)
}

func (s *inet) setOption(level, name int, v []byte) syscall.Errno {
	key := optionName{level, name}
	if e := s.applies(level); e != 0 {
		return e
	}
	switch key {
	case optionName{syscall.IPPROTO_IP, syscall.IP_ADD_MEMBERSHIP}, optionName{syscall.IPPROTO_IP, syscall.IP_DROP_MEMBERSHIP},
		optionName{syscall.IPPROTO_IPV6, syscall.IPV6_JOIN_GROUP}, optionName{syscall.IPPROTO_IPV6, syscall.IPV6_LEAVE_GROUP},
		optionName{syscall.IPPROTO_IP, syscall.IP_MULTICAST_IF}, optionName{syscall.IPPROTO_IPV6, syscall.IPV6_MULTICAST_IF}:
		return s.setMulticast(key, v)
	case optionName{syscall.SOL_SOCKET, syscall.SO_BINDTODEVICE}:
		return s.bindToDevice(v)
	case optionName{syscall.IPPROTO_TCP, syscall.TCP_CONGESTION}:
		o := tcpip.CongestionControlOption(cString(v))
		return errno(s.ep.SetSockOpt(&o))
	case optionName{syscall.SOL_SOCKET, syscall.SO_LINGER}:
		if len(v) < 8 {
			return syscall.EINVAL
		}
		on, seconds := binary.NativeEndian.Uint32(v), int32(binary.NativeEndian.Uint32(v[4:]))
		s.ep.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: on != 0, Timeout: time.Duration(max(seconds, 0)) * time.Second})
		return 0
	}
	n, e := value(level, v)
	if e != 0 {
		return e
	}
	if f, ok := flags[key]; ok {
		f.set(s.ep.SocketOptions(), n != 0)
		return 0
	}
	if o, ok := numbers[key]; ok {
		return errno(s.ep.SetSockOptInt(o, n))
	}
	switch key {
	case optionName{syscall.SOL_SOCKET, syscall.SO_RCVBUF}:
		s.ep.SocketOptions().SetReceiveBufferSize(doubled(n, s.ep.SocketOptions().ReceiveBufferLimits), true)
	case optionName{syscall.SOL_SOCKET, syscall.SO_SNDBUF}:
		s.ep.SocketOptions().SetSendBufferSize(doubled(n, s.ep.SocketOptions().SendBufferLimits), true)
	case optionName{syscall.SOL_SOCKET, syscall.SO_OOBINLINE}, optionName{syscall.SOL_SOCKET, syscall.SO_PRIORITY},
		optionName{syscall.SOL_SOCKET, syscall.SO_DONTROUTE}, optionName{syscall.SOL_SOCKET, syscall.SO_TIMESTAMP},
		optionName{syscall.SOL_SOCKET, syscall.SO_RCVLOWAT}, optionName{syscall.IPPROTO_TCP, tcpFastOpen}:
		return 0 // hints, and what cannot make a difference here
	case optionName{syscall.SOL_SOCKET, syscall.SO_MARK}:
		return syscall.EPERM
	default:
		return s.setTime(key, n)
	}
	return 0
}

// doubled is a buffer's size as Linux makes it of what is asked for.
func doubled(n int, limits func() (int64, int64)) int64 {
	lo, hi := limits()
	return min(max(2*int64(n), lo), hi)
}

// setTime sets the options of TCP that are times.
func (s *inet) setTime(key optionName, n int) syscall.Errno {
	if n < 0 {
		return syscall.EINVAL
	}
	var o tcpip.SettableSocketOption
	switch seconds := time.Duration(n) * time.Second; key {
	case optionName{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE}:
		v := tcpip.KeepaliveIdleOption(seconds)
		o = &v
	case optionName{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL}:
		v := tcpip.KeepaliveIntervalOption(seconds)
		o = &v
	case optionName{syscall.IPPROTO_TCP, tcpUserTimeout}:
		v := tcpip.TCPUserTimeoutOption(time.Duration(n) * time.Millisecond)
		o = &v
	case optionName{syscall.IPPROTO_TCP, syscall.TCP_LINGER2}:
		v := tcpip.TCPLingerTimeoutOption(seconds)
		o = &v
	case optionName{syscall.IPPROTO_TCP, syscall.TCP_DEFER_ACCEPT}:
		v := tcpip.TCPDeferAcceptOption(seconds)
		o = &v
	default:
		return syscall.ENOPROTOOPT
	}
	if (key.name == syscall.TCP_KEEPIDLE || key.name == syscall.TCP_KEEPINTVL) && n < 1 {
		return syscall.EINVAL
	}
	return errno(s.ep.SetSockOpt(o))
}

// applies says whether options of a level are for s.
func (s *inet) applies(level int) syscall.Errno {
	switch level {
	case syscall.SOL_SOCKET, syscall.IPPROTO_IP:
		return 0
	case syscall.IPPROTO_IPV6:
		if s.fam == syscall.AF_INET6 {
			return 0
		}
	case syscall.IPPROTO_TCP:
		if s.proto == syscall.IPPROTO_TCP {
			return 0
		}
	}
	return syscall.ENOPROTOOPT
}

func (s *inet) option(level, name, size int) ([]byte, syscall.Errno) {
	key := optionName{level, name}
	if s.applies(level) != 0 {
		return nil, syscall.EOPNOTSUPP
	}
	o := s.ep.SocketOptions()
	if f, ok := flags[key]; ok {
		return truth(f.get(o)), 0
	}
	if id, ok := numbers[key]; ok {
		n, err := s.ep.GetSockOptInt(id)
		return number(n), errno(err)
	}
	switch key {
	case optionName{syscall.SOL_SOCKET, syscall.SO_ERROR}:
		return number(int(errno(o.GetLastError()))), 0
	case optionName{syscall.SOL_SOCKET, syscall.SO_RCVBUF}:
		return number(int(o.GetReceiveBufferSize())), 0
	case optionName{syscall.SOL_SOCKET, syscall.SO_SNDBUF}:
		return number(int(o.GetSendBufferSize())), 0
	case optionName{syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN}:
		return truth(o.GetAcceptConn()), 0
	case optionName{syscall.SOL_SOCKET, syscall.SO_LINGER}:
		l := o.GetLinger()
		return append(truth(l.Enabled), number(int(l.Timeout/time.Second))...), 0
	case optionName{syscall.SOL_SOCKET, syscall.SO_OOBINLINE}, optionName{syscall.SOL_SOCKET, syscall.SO_PRIORITY},
		optionName{syscall.SOL_SOCKET, syscall.SO_DONTROUTE}, optionName{syscall.SOL_SOCKET, syscall.SO_TIMESTAMP}:
		return number(0), 0
	case optionName{syscall.SOL_SOCKET, syscall.SO_RCVLOWAT}:
		return number(1), 0
	}
	return s.tcpOption(key)
}

func (s *inet) tcpOption(key optionName) ([]byte, syscall.Errno) {
	switch key {
	case optionName{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE}:
		var o tcpip.KeepaliveIdleOption
		err := s.ep.GetSockOpt(&o)
		return number(int(time.Duration(o) / time.Second)), errno(err)
	case optionName{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL}:
		var o tcpip.KeepaliveIntervalOption
		err := s.ep.GetSockOpt(&o)
		return number(int(time.Duration(o) / time.Second)), errno(err)
	case optionName{syscall.IPPROTO_TCP, tcpUserTimeout}:
		var o tcpip.TCPUserTimeoutOption
		err := s.ep.GetSockOpt(&o)
		return number(int(time.Duration(o) / time.Millisecond)), errno(err)
	case optionName{syscall.IPPROTO_TCP, syscall.TCP_LINGER2}:
		var o tcpip.TCPLingerTimeoutOption
		err := s.ep.GetSockOpt(&o)
		return number(int(time.Duration(o) / time.Second)), errno(err)
	case optionName{syscall.IPPROTO_TCP, syscall.TCP_DEFER_ACCEPT}:
		var o tcpip.TCPDeferAcceptOption
		err := s.ep.GetSockOpt(&o)
		return number(int(time.Duration(o) / time.Second)), errno(err)
	case optionName{syscall.IPPROTO_TCP, syscall.TCP_CONGESTION}:
		var o tcpip.CongestionControlOption
		err := s.ep.GetSockOpt(&o)
		return append([]byte(o), 0), errno(err)
	case optionName{syscall.IPPROTO_TCP, syscall.TCP_INFO}:
		return s.tcpInfo(), 0
	}
	return nil, syscall.ENOPROTOOPT
}

// tcpStates are Linux's numbers of the stack's states.
var tcpStates = map[tcp.EndpointState]byte{
	tcp.StateEstablished: 1, tcp.StateSynSent: 2, tcp.StateSynRecv: 3, tcp.StateConnecting: 2, tcp.StateFinWait1: 4,
	tcp.StateFinWait2: 5, tcp.StateTimeWait: 6, tcp.StateCloseWait: 8, tcp.StateLastAck: 9, tcp.StateListen: 10, tcp.StateClosing: 11,
}

// tcpInfo is struct tcp_info (Linux tcp.h), with what the stack knows of it.
func (s *inet) tcpInfo() []byte {
	const size, closed = 104, 7
	var info tcpip.TCPInfoOption
	s.ep.GetSockOpt(&info)
	b := make([]byte, size)
	b[0] = closed
	if state, ok := tcpStates[tcp.EndpointState(s.ep.State())]; ok {
		b[0] = state
	}
	put := func(at int, v uint32) { binary.NativeEndian.PutUint32(b[at:], v) }
	put(8, uint32(info.RTO/time.Microsecond))
	put(68, uint32(info.RTT/time.Microsecond))
	put(72, uint32(info.RTTVar/time.Microsecond))
	put(76, info.SndSsthresh)
	put(80, info.SndCwnd)
	return b
}

func cString(v []byte) string {
	for i, c := range v {
		if c == 0 {
			return string(v[:i])
		}
	}
	return string(v)
}
