// Package net answers socket calls inside a Go unikernel: the network below
// netFD. Package syscall of an image calls it, in place of the host, with the
// call's number and arguments, so net, syscall, golang.org/x/sys/unix and
// golang.org/x/net work as they are.
//
// TCP, UDP, ICMP and raw sockets of IPv4 and IPv6 are those of gVisor's stack,
// with a loopback interface and, where the image has a network device, one on
// that. This package implements AF_UNIX itself; AF_NETLINK reports interfaces
// and addresses.
//
// Unlike the library kernel (guest/kernel) this is ordinary Go, which runs on the
// caller's goroutine, may be preempted, and may wait. The kernel knows only that
// a descriptor is a socket, and what to tell its poller.
//
// In an image it is a package of the standard library, on which package net
// depends, so it is initialised before everything that could use sockets. gocat
// build copies it, and gVisor's packages, there under other import paths: so a
// program can use a gVisor of its own.
package net
