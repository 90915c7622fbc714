package net

import (
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// routers takes what routers of IPv6 tell, and keeps the routes by it. The stack
// itself takes care of the addresses.
type routers struct{}

func (routers) OnOffLinkRouteUpdated(nic tcpip.NICID, to tcpip.Subnet, router tcpip.Address, _ header.NDPRoutePreference) {
	theStack().ReplaceRoute(tcpip.Route{Destination: to, Gateway: router, NIC: nic})
}

func (routers) OnOffLinkRouteInvalidated(nic tcpip.NICID, to tcpip.Subnet, router tcpip.Address) {
	theStack().RemoveRoutes(func(r tcpip.Route) bool { return r.NIC == nic && r.Destination == to && r.Gateway == router })
}

func (routers) OnOnLinkPrefixDiscovered(nic tcpip.NICID, to tcpip.Subnet) {
	theStack().ReplaceRoute(tcpip.Route{Destination: to, NIC: nic})
}

func (routers) OnOnLinkPrefixInvalidated(nic tcpip.NICID, to tcpip.Subnet) {
	theStack().RemoveRoutes(func(r tcpip.Route) bool { return r.NIC == nic && r.Destination == to && r.Gateway.Len() == 0 })
}

func (routers) OnAutoGenAddress(tcpip.NICID, tcpip.AddressWithPrefix) stack.AddressDispatcher {
	return nil
}
func (routers) OnDuplicateAddressDetectionResult(tcpip.NICID, tcpip.Address, stack.DADResult) {}
func (routers) OnAutoGenAddressDeprecated(tcpip.NICID, tcpip.AddressWithPrefix)               {}
func (routers) OnAutoGenAddressInvalidated(tcpip.NICID, tcpip.AddressWithPrefix)              {}
func (routers) OnRecursiveDNSServerOption(tcpip.NICID, []tcpip.Address, time.Duration)        {}
func (routers) OnDNSSearchListOption(tcpip.NICID, []string, time.Duration)                    {}
func (routers) OnDHCPv6Configuration(tcpip.NICID, ipv6.DHCPv6ConfigurationFromNDPRA)          {}
