package net

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
)

// texts are the files that package net reads, by path.
var (
	textsMu sync.Mutex
	texts   = map[string]string{
		"/etc/hosts":                   "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
		"/proc/sys/net/core/somaxconn": fmt.Sprintln(maxBacklog),
	}
)

const resolvConf = "/etc/resolv.conf"

// setNameservers writes /etc/resolv.conf.
func setNameservers(servers []netip.Addr) {
	var b strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %v\n", s)
	}
	textsMu.Lock()
	defer textsMu.Unlock()
	texts[resolvConf] = b.String()
}

// openText opens such a file, where the kernel has none of that name. What it
// opens is a pipe with the text in it.
func openText(path string) (fd int64, done bool) {
	if path == resolvConf && theDevice != nil {
		awaitAddress() // a server that gives an address says what is in it
	}
	textsMu.Lock()
	text, ok := texts[path]
	textsMu.Unlock()
	if !ok || exists(path) {
		return 0, false
	}
	return pipeOf(text), true
}
