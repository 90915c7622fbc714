module gocat

go 1.26.0
