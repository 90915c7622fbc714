package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"github.com/gin-gonic/gin"
	"github.com/tetratelabs/wazero"
	_ "modernc.org/sqlite"
)

func startGin() (func() (func(i int) error, error), error) {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(gin.Recovery())
	r.GET("/hello/:name", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"hello": c.Param("name")}) })
	l := listen()
	go r.RunListener(l)
	return func() (func(int) error, error) {
		client := &http.Client{Transport: &http.Transport{}}
		return get(client, "http://"+l.Addr().String()+"/hello/{i}", func(i int, body string) error { return same(body, fmt.Sprintf(`{"hello":"%d"}`, i)) })
	}, nil
}

// handle has a handler answer the requests for numbers.
func handle(handler func(i int) (string, error), want func(i int) string) (func() (func(i int) error, error), error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{i}", func(w http.ResponseWriter, r *http.Request) {
		i, err := strconv.Atoi(r.PathValue("i"))
		answer := ""
		if err == nil {
			answer, err = handler(i)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, answer)
	})
	l := listen()
	go http.Serve(l, mux)
	return func() (func(int) error, error) {
		client := &http.Client{Transport: &http.Transport{}}
		return get(client, "http://"+l.Addr().String()+"/{i}", func(i int, body string) error { return same(body, want(i)) })
	}, nil
}

// add is a WebAssembly module with a function add of two numbers of 32 bits.
var add = []byte("\x00asm\x01\x00\x00\x00" +
	"\x01\x07\x01\x60\x02\x7f\x7f\x01\x7f" + "\x03\x02\x01\x00" + "\x07\x07\x01\x03add\x00\x00" +
	"\x0a\x09\x01\x07\x00\x20\x00\x20\x01\x6a\x0b")

// startWazero runs WebAssembly for each request.
func startWazero() (func() (func(i int) error, error), error) {
	ctx := context.Background()
	module, err := wazero.NewRuntime(ctx).Instantiate(ctx, add)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	return handle(func(i int) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		sum, err := module.ExportedFunction("add").Call(ctx, uint64(i), 42)
		if err != nil {
			return "", err
		}
		return fmt.Sprint(sum[0]), nil
	}, func(i int) string { return fmt.Sprint(i + 42) })
}

// startSQLite has a database in memory, which each request changes and asks.
func startSQLite() (func() (func(i int) error, error), error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // each has a database of its own
	if _, err := db.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)"); err != nil {
		return nil, err
	}
	return handle(func(i int) (v string, err error) {
		const rows = 1000
		tx, err := db.Begin()
		if err != nil {
			return "", err
		}
		defer tx.Rollback()
		if _, err := tx.Exec("INSERT OR REPLACE INTO t VALUES (?, ?)", i%rows, fmt.Sprint("row ", i)); err != nil {
			return "", err
		}
		if err := tx.QueryRow("SELECT upper(v) FROM t WHERE id = ?", i%rows).Scan(&v); err != nil {
			return "", err
		}
		return v, tx.Commit()
	}, func(i int) string { return fmt.Sprint("ROW ", i) })
}
