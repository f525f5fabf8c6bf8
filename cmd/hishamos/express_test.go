package main

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// expressVariable decides for every suite of this package whether the express
// lane is used: it is an optimisation, so all of them must pass without it.
const expressVariable = "HISHAMOS_EXPRESS"

// express is the setting for nodes that do not see the tests' environment.
func express() string { return expressVariable + "=" + os.Getenv(expressVariable) }

func expressIsOff() bool { return os.Getenv(expressVariable) == "off" }

// expressed is how many events took the express lane in a process of a drill.
func (p *process) expressed() float64 {
	p.t.Helper()
	answer := httptest.NewRecorder()
	p.metrics.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	n, err := expressedIn(answer.Body)
	if err != nil {
		p.t.Error(err)
	}
	return n
}

// expressedIn reads the count out of metrics.
func expressedIn(metrics io.Reader) (float64, error) {
	for lines := bufio.NewScanner(metrics); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "hishamos_express_events_total "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, io.ErrUnexpectedEOF
}

// expressed fails unless the server of the script has done as its setting says.
func expressed(ts *testscript.TestScript, _ bool, _ []string) {
	r, err := http.Get("http://" + ts.Getenv("HISHAMOS_LISTEN") + "/metrics")
	ts.Check(err)
	n, err := expressedIn(r.Body)
	ts.Check(r.Body.Close())
	ts.Check(err)
	if off := ts.Getenv(expressVariable) == "off"; off != (n == 0) {
		ts.Fatalf("%s is %q, and %v events took the express lane", expressVariable, ts.Getenv(expressVariable), n)
	}
}

func TestReactionsHearOfOwnCommitsBeforeKafkaOnlyOnTheExpressLane(t *testing.T) {
	t.Parallel()
	lanes := []string{"off"}
	if !expressIsOff() {
		lanes = append(lanes, "on")
	}
	for _, lane := range lanes {
		t.Run(lane, func(t *testing.T) {
			t.Parallel()
			d := newDrill(t, expressVariable+"="+lane)
			d.start((*node).runRelay)
			work := &performer{}
			p := d.start((*node).runReactions, work.run)
			p.reacting()
			p.fill(1)
			p.allEnded() // by one way or the other
			if used := p.expressed(); (used > 0) != (lane == "on") {
				t.Errorf("%v events took the express lane", used)
			}
		})
	}
}
