// Hatches inside a Go app, with Go's standard library alone: docs/hatchkit.md has the protocol. Copy it into the app's
// package, without main(), and call openHatches() once.
//
// SPDX-License-Identifier: MIT
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

const maxBody = 1 << 20

type object = map[string]any

// hatch is one action. Parameters are JSON Schemas by name.
type hatch struct {
	Name, Title, Documentation, Effect, Mark string
	Parameters                               map[string]object
	Required                                 []string
	Timeout                                  time.Duration
	Run                                      func(ctx context.Context, params object) (any, error)
}

type problem struct {
	status       int
	code, detail string
	more         object
}

func (p *problem) Error() string { return p.detail }

func (h *hatch) describe() object {
	entry := object{"name": h.Name, "title": h.Title, "documentation": h.Documentation, "effect": h.Effect,
		"parameters": object{"type": "object", "properties": h.Parameters, "required": h.Required,
			"additionalProperties": false},
		"timeout_ms": h.Timeout.Milliseconds()}
	if h.Mark != "" {
		entry["mark"] = h.Mark
	}
	return entry
}

func isOf(kind any, value any) bool {
	switch kind {
	case "string":
		_, ok := value.(string)
		return ok
	case "boolean":
		_, ok := value.(bool)
		return ok
	case "integer":
		number, ok := value.(float64)
		return ok && number == float64(int64(number))
	case "number":
		_, ok := value.(float64)
		return ok
	}
	return true
}

func (h *hatch) check(body []byte) (object, error) {
	params := object{}
	if len(strings.TrimSpace(string(body))) > 0 {
		if err := json.Unmarshal(body, &params); err != nil || params == nil {
			return nil, &problem{400, "malformed", "the body is not a JSON object of parameters", nil}
		}
	}
	errs := []object{}
	for name, value := range params {
		if schema, known := h.Parameters[name]; !known {
			errs = append(errs, object{"pointer": "/" + name, "detail": "unknown"})
		} else if !isOf(schema["type"], value) {
			errs = append(errs, object{"pointer": "/" + name, "detail": fmt.Sprintf("must be of type %v", schema["type"])})
		}
	}
	for _, name := range h.Required {
		if _, given := params[name]; !given {
			errs = append(errs, object{"pointer": "/" + name, "detail": "is required"})
		}
	}
	if len(errs) > 0 {
		return nil, &problem{422, "params-invalid", fmt.Sprintf("%v: %v", errs[0]["pointer"], errs[0]["detail"]),
			object{"errors": errs}}
	}
	for name, schema := range h.Parameters {
		if fallback, has := schema["default"]; has {
			if _, given := params[name]; !given {
				params[name] = fallback
			}
		}
	}
	return params, nil
}

// call runs the hatch in a goroutine of its own, which cannot be ended: who calls is told that it goes on.
func (h *hatch) call(params object) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), h.Timeout)
	defer cancel()
	type outcome struct {
		result any
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		defer func() {
			if fault := recover(); fault != nil {
				done <- outcome{nil, &problem{500, "hatch-failed", fmt.Sprint(fault), object{"traceback": string(debug.Stack())}}}
			}
		}()
		result, err := h.Run(ctx, params)
		done <- outcome{result, err}
	}()
	select {
	case each := <-done:
		if each.err != nil {
			var told *problem
			if errors.As(each.err, &told) {
				return nil, told
			}
			return nil, &problem{500, "hatch-failed", each.err.Error(), nil}
		}
		return each.result, nil
	case <-ctx.Done():
		return nil, &problem{504, "hatch-timeout", "it has not ended; it goes on", nil}
	}
}

type server struct{ hatches []*hatch }

func (s *server) answer(request *http.Request) (any, error) {
	if request.URL.Path == "/hatches" {
		if request.Method != http.MethodGet {
			return nil, &problem{405, "method", "GET /hatches lists", nil}
		}
		list := []object{}
		for _, each := range s.hatches {
			list = append(list, each.describe())
		}
		return object{"protocol": 1, "hatches": list, "process": object{"pid": os.Getpid(),
			"program": strings.Join(os.Args[:1], " "), "language": runtime.Version()}}, nil
	}
	name := strings.TrimPrefix(request.URL.Path, "/hatches/")
	if name == request.URL.Path {
		return nil, &problem{404, "hatch-unknown", "there are GET /hatches and POST /hatches/NAME", nil}
	}
	if request.Method != http.MethodPost {
		return nil, &problem{405, "method", "POST runs a hatch; nothing runs by " + request.Method, nil}
	}
	if request.ContentLength > maxBody {
		return nil, &problem{413, "too-large", "the body is larger than 1 MiB", nil}
	}
	body, err := io.ReadAll(io.LimitReader(request.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		return nil, &problem{413, "too-large", "the body is larger than 1 MiB, or not whole", nil}
	}
	for _, each := range s.hatches {
		if each.Name == name {
			params, err := each.check(body)
			if err != nil {
				return nil, err
			}
			begun := time.Now()
			result, err := each.call(params)
			if err != nil {
				return nil, err
			}
			return object{"result": result, "ms": float64(time.Since(begun).Microseconds()) / 1000}, nil
		}
	}
	return nil, &problem{404, "hatch-unknown", "there is no such hatch", nil}
}

func (s *server) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	status, kind := 200, "application/json"
	body, err := s.answer(request)
	var told *problem
	if errors.As(err, &told) {
		status, kind = told.status, "application/problem+json"
		members := object{"status": told.status, "code": told.code, "detail": told.detail}
		for name, value := range told.more {
			members[name] = value
		}
		body = members
	}
	text, err := json.Marshal(body)
	if err != nil {
		status, kind = 500, "application/problem+json"
		text, _ = json.Marshal(object{"status": 500, "code": "hatch-failed", "detail": "the result is no JSON: " + err.Error()})
	}
	writer.Header().Set("Content-Type", kind)
	writer.Header().Set("Connection", "close")
	writer.WriteHeader(status)
	writer.Write(text)
}

// admitted asks the kernel who calls (SO_PEERCRED, unix(7)): root and this process's user, or whoever a folder that
// only its owner and group may enter has let in.
type admitted struct {
	*net.UnixListener
	guarded bool
}

func (l admitted) Accept() (net.Conn, error) {
	for {
		connection, err := l.AcceptUnix()
		if err != nil || l.guarded {
			return connection, err
		}
		raw, err := connection.SyscallConn()
		if err == nil {
			uid := -1
			raw.Control(func(fd uintptr) {
				if peer, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
					uid = int(peer.Uid)
				}
			})
			if uid == 0 || uid == os.Geteuid() {
				return connection, nil
			}
		}
		connection.Close()
	}
}

func hatchFolder() string {
	if configured := os.Getenv("HATCH_DIR"); configured != "" {
		return configured
	}
	if syscall.Access("/run/hatch-app", 2) == nil {
		return "/run/hatch-app"
	}
	return fmt.Sprintf("/tmp/hatch-app-%d", os.Geteuid())
}

// openHatches serves them until the process ends. An error is no reason for the app not to start.
func openHatches(hatches ...*hatch) error {
	for _, each := range hatches {
		if each.Effect == "" {
			each.Effect = "act"
		}
		if each.Documentation == "" {
			each.Documentation = each.Title
		}
		if each.Timeout == 0 {
			each.Timeout = 30 * time.Second
		}
		if each.Parameters == nil {
			each.Parameters = map[string]object{}
		}
		if each.Required == nil {
			each.Required = []string{}
		}
	}
	folder := hatchFolder()
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	info, err := os.Lstat(folder)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if !info.IsDir() || (strings.HasPrefix(folder, "/tmp/") && owner != uint32(os.Geteuid())) {
		return fmt.Errorf("%s is not a folder of this user", folder)
	}
	file := filepath.Join(folder, fmt.Sprintf("%d.sock", os.Getpid()))
	os.Remove(file) // of an earlier process of this number
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: file, Net: "unix"})
	if err != nil {
		return err
	}
	guarded := info.Mode().Perm()&0o007 == 0
	mode := os.FileMode(0o600)
	if guarded {
		mode = 0o666
	}
	os.Chmod(file, mode)
	http := &http.Server{Handler: &server{hatches}, ReadTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	go http.Serve(admitted{listener, guarded})
	return nil
}

func main() {
	err := openHatches(
		&hatch{Name: "echo", Title: "Give the text back", Effect: "observe",
			Parameters: map[string]object{"text": {"type": "string"}}, Required: []string{"text"},
			Run: func(_ context.Context, params object) (any, error) { return params["text"], nil }},
		&hatch{Name: "fail", Title: "Fail on purpose",
			Run: func(context.Context, object) (any, error) { return nil, errors.New("on purpose") }})
	if err != nil {
		fmt.Fprintln(os.Stderr, "hatches are closed:", err)
	}
	stop := make(chan os.Signal, 1) // the app
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
}
