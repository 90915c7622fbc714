package selftest

func hvtAttacks(s Setting) (all []*Attack) { return nil }
