package usernet

import "testing"

func TestPassed(t *testing.T) {
	const pid, most = 42, 3
	for _, test := range []struct {
		pid, fds string
		n        int
		wrong    bool
	}{
		{"", "", 0, false}, {"42", "", 0, false}, {"", "3", 0, false},
		{"42", "3", 3, false}, {"42", "0", 0, false}, {"41", "3", 0, false}, {"41", "junk", 0, false},
		{"42", "4", 0, true}, {"42", "-1", 0, true}, {"42", "1 ", 0, true}, {"42", "18446744073709551617", 0, true},
		{"0", "1", 0, true}, {"-42", "1", 0, true}, {"x", "1", 0, true},
	} {
		n, err := Passed(func(name string) string {
			return map[string]string{"LISTEN_PID": test.pid, "LISTEN_FDS": test.fds}[name]
		}, pid, most)
		if n != test.n || (err != nil) != test.wrong {
			t.Errorf("%+v: %d, %v", test, n, err)
		}
	}
}
