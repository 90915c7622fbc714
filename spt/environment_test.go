package spt

import (
	"os"
	"testing"

	"gocat/internal/isolate"
	"gocat/internal/plan"
	"gocat/internal/testhost"
)

// A program that a plan executes gets of the environment what is a plan's business.
func TestPlanEnvironment(t *testing.T) {
	const env = "/usr/bin/env"
	if _, err := os.Stat(env); err != nil {
		testhost.Skip(t, "no "+env)
	}
	for _, test := range []struct {
		env  []string
		want string
	}{
		{[]string{}, ""},
		{[]string{"A=1", "LISTEN_FDS=2", "B", "GOCAT_X=y", "LIS", ""}, "LISTEN_FDS=2\nGOCAT_X=y\n"},
		{[]string{"LISTEN_PID=1"}, "LISTEN_PID=1\ngiven=1\n"},
		{[]string{"LISTEN_P", "L"}, "LISTEN_P\ngiven=1\n"},
	} {
		c := testhost.Command{Env: test.env, Path: layered(t, isolate.Config{}, func(p *plan.Plan) {
			const listenPID = 0x505f4e455453494c // "LISTEN_P"
			p.When(plan.Exact, 1, func() {
				p.ExecPath("execve", env, p.Strings([]string{"env", "given=1"}))
			}, plan.Given, uint64(listenPID))
			p.ExecPath("execve", env, p.Strings([]string{"env"}))
		})}
		if r := c.Run(t); r.Stdout != test.want || r.Status != 0 {
			t.Errorf("%q: %+v, want %q", test.env, r, test.want)
		}
	}
}
