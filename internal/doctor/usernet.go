package doctor

import "strings"

// userNetworks checks whether gocat-net runs here, and what confines it.
func (h *Host) userNetworks() Result {
	if h.UserNetwork == nil {
		return Result{Status: Warn, Found: "not looked at"}
	}
	layers, err := h.UserNetwork()
	if err != nil {
		return Result{Status: Warn, Found: err.Error(), Means: "no --net NAME=user"}
	}
	r := Result{Status: OK, Found: "gocat-net runs, and is stopped from what it may not do"}
	var off []string
	for _, l := range layers {
		if name, why, ok := strings.Cut(l, ": off: "); ok {
			off = append(off, name+" ("+why+")")
		}
	}
	if off != nil {
		r.Status = Warn
		r.Found = "gocat-net runs, without " + strings.Join(off, ", ")
		r.Means = "less holds one who takes it over; its filter does"
	}
	return r
}
