package hishamos_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/hishamos/hishamos/api/apitest"
	"github.com/hishamos/hishamos/api/v1"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

// example is a server that lasts as long as an example: what a test is to
// apitest.
type example struct {
	testing.TB
	ends []func()
}

func (*example) Helper()                  {}
func (*example) Context() context.Context { return context.Background() }
func (*example) Fatal(args ...any)        { panic(fmt.Sprint(args...)) }
func (e *example) Cleanup(f func())       { e.ends = append(e.ends, f) }

func (e *example) end() {
	for _, f := range e.ends {
		f()
	}
}

// serve starts a test server; with a real one the address and the token come
// from HISHAMOS_URL and HISHAMOS_TOKEN.
func serve() (address, token string, end func()) {
	e := &example{}
	s := apitest.New(e)
	return s.URL, s.Tokens.Secret(apitest.Everything), e.end
}

func ExampleClient_StartRun() {
	address, token, end := serve()
	defer end()
	c, err := hishamos.New(address, token, hishamos.Options{})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	started, err := c.StartRun(ctx, "stock", v1.StartRun{Inputs: map[string]json.RawMessage{"notes": json.RawMessage(`"Sign-in by passkey."`)}}, hishamos.Command{})
	if err != nil {
		panic(err)
	}
	if _, err := c.CancelRun(ctx, started.ID, "it was an example", hishamos.Command{}); err != nil {
		panic(err)
	}
	run, err := c.Wait(ctx, started.ID)
	if err != nil {
		panic(err)
	}
	fmt.Println(run.Title, "is", run.State+":", run.Reason)
	// Output: Stock workflow is cancelled: it was an example
}

func ExampleClient_AllEvents() {
	address, token, end := serve()
	defer end()
	c, err := hishamos.New(address, token, hishamos.Options{})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	if _, err := c.CreateTask(ctx, v1.CreateTask{Agent: "writer", Template: "text.write", Input: map[string]json.RawMessage{"notes": json.RawMessage(`"n"`)}}, hishamos.Command{}); err != nil {
		panic(err)
	}
	for e, err := range c.AllEvents(ctx, 0, "run") {
		if err != nil {
			panic(err)
		}
		fmt.Println(e.Type)
	}
	// Output:
	// run.started
	// run.step_scheduled
}

func ExampleError() {
	address, token, end := serve()
	defer end()
	c, err := hishamos.New(address, token, hishamos.Options{})
	if err != nil {
		panic(err)
	}
	_, err = c.Runs(context.Background(), hishamos.RunsQuery{Page: hishamos.Page{At: "99999"}})
	if refused, ok := errors.AsType[*hishamos.Error](err); ok {
		fmt.Println(refused.Status, refused.Code)
	}
	// Output: 400 position.future
}
