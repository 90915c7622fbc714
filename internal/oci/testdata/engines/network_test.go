package engines

import (
	"strings"
	"testing"
)

// networker is an engine with networks by name.
type networker interface {
	// network makes a network with the subnet 10.N.0.0/24.
	network(t testing.TB, name, subnet string)
	// bridge is the network that containers have when none is named.
	bridge() string
}

func defaultNetworks(e engine) []string {
	if n, ok := e.(networker); ok {
		return []string{n.bridge()}
	}
	return nil
}

func (p *podman) bridge() string { return "podman" }
func (d *docker) bridge() string { return "bridge" }

func (c cli) network(t testing.TB, name, subnet string) {
	t.Helper()
	must(t, c.args("network", "create", "--subnet="+subnet, name)...)
	t.Cleanup(func() { command(t, nil, c.args("network", "rm", name)...) })
}

// A guest with two devices has two interfaces, and the gateway of each answers.
func testNetworks(t *testing.T, e engine, backend string) {
	n := e.(networker)
	names := []string{"one-" + backend, "two-" + backend}
	subnets := map[string][2]string{"spt": {"10.91.1", "10.91.2"}, "hvt": {"10.91.3", "10.91.4"}}[backend]
	for i, name := range names {
		n.network(t, name, subnets[i]+".0/24")
	}
	got := e.run(t, spec{image: "nets-" + backend, networks: names, args: []string{subnets[0] + ".1", subnets[1] + ".1"}})
	if got.status != 0 || strings.Count(got.stdout, "answered by "+subnets[0]+".1") != 1 || strings.Count(got.stdout, "answered by "+subnets[1]+".1") != 1 {
		t.Errorf("%+v", got)
	}
}
