package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/bench"
)

// benchCase is one thing that can be measured.
type benchCase struct {
	name, short string
	shared      bool // several processes need the broker
	run         func(*benchRun, context.Context) error
}

func benchCases() []benchCase {
	return []benchCase{
		{"w1", "Runs of 10 steps one after another, many in flight", false, (*benchRun).w1},
		{"w2", "Runs of 20 steps side by side, all started at once", false, (*benchRun).w2},
		{"solo", "Runs of 10 steps, one run at a time", false, (*benchRun).solo},
		{"w3", "w1, while workers, handlers and both are killed", true, (*benchRun).w3},
		{"append", "The event store against plain inserts of the same row", false, (*benchRun).append},
		{"stream", "Commands to one stream", false, (*benchRun).stream},
		{"overload", "One of twenty tenants that sends ten times what is possible", false, (*benchRun).overload},
		{"latency", "From the commit to a plain Kafka consumer", true, (*benchRun).latency},
		{"rebuild", "Building each read model anew", false, (*benchRun).rebuild},
		{"store-from-kafka", "Rebuilding the store from the topics", false, (*benchRun).storeFromKafka},
		{"kafka-from-store", "Making the topics anew from the store", false, (*benchRun).kafkaFromStore},
		{"memory", "Memory of a server, fresh and after a restart with many events", false, (*benchRun).memory},
	}
}

// benchSizes say how much is measured. Zero: what the case says.
type benchSizes struct {
	Runs     int    `json:"runs,omitempty"`
	InFlight int    `json:"inflight,omitempty"`
	Seconds  int    `json:"seconds,omitempty"`
	Rounds   int    `json:"rounds,omitempty"`
	Callers  []int  `json:"callers,omitempty"`
	Rate     int    `json:"rate,omitempty"`
	Events   int    `json:"events,omitempty"`
	Effect   string `json:"effect,omitempty"`
}

// setup is what a figure depends on.
type setup struct {
	Version    string  `json:"version"`
	Profile    string  `json:"profile"`
	Partitions int     `json:"partitions"`
	Express    bool    `json:"express"`
	Workers    string  `json:"workers"` // in-process or own
	CPUs       int     `json:"cpus"`
	SyncMS     float64 `json:"sync_ms"` // of a small write to the disk in use
	benchSizes
}

// figure is a line of the answer.
type figure struct {
	Bench  string             `json:"bench"`
	Case   string             `json:"case,omitempty"`
	Values map[string]float64 `json:"values"`
	Notes  []string           `json:"notes,omitempty"`
	Setup  setup              `json:"setup"`
}

// benchRun is a benchmark at work.
type benchRun struct {
	*world
	benchSizes
	name     string
	own      bool // workers have processes of their own
	procs    map[string]int
	profiles string
	emit     func(figure) error
}

func newBench() *cobra.Command {
	r := &benchRun{}
	var workers, procs string
	cmd := &cobra.Command{
		Use:   "bench NAME",
		Short: "Measure this build on this machine",
		Long: "Measure this build on this machine, through the public API, on the embedded profile\nor on the servers of DATABASE_URL and KAFKA_BROKERS. " +
			"It starts servers of its own on a\nfolder, database and topics of its own and removes them afterwards.\n\nNames:\n" + benchNames(),
		Example: `  hishamos bench w1 --runs 2000 --inflight 50
  DATABASE_URL=postgres://... KAFKA_BROKERS=127.0.0.1:9092 hishamos bench w1 --workers own --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := chooseBench(args)
			if err != nil {
				return err
			}
			if r.procs, err = parseProcs(procs); err != nil {
				return err
			}
			if err := r.check(workers); err != nil {
				return err
			}
			return r.measure(cmd, c)
		},
	}
	f := cmd.Flags()
	f.IntVar(&r.Runs, "runs", 0, "runs of a workload; default: 2000, solo 20, w2 200, w3 200")
	f.IntVar(&r.InFlight, "inflight", 0, "runs in flight; default: 50, w2 all")
	f.IntVar(&r.Seconds, "seconds", 0, "length of stream, latency and overload; default: 5, overload 60")
	f.IntVar(&r.Rounds, "rounds", 0, "how often append compares; the median counts; default: 5")
	f.IntSliceVar(&r.Callers, "callers", nil, "callers of append and stream; default: 1,16,64,256 and 64")
	f.IntVar(&r.Rate, "rate", 0, "events a second of latency; default: 3000")
	f.IntVar(&r.Events, "events", 0, "events of memory; default: 1000000")
	f.StringVar(&r.Effect, "effect", "", "effect of the steps of w1, solo and w3: repeatable, keyed or at_most_once; default: repeatable, w3 keyed")
	f.StringVar(&workers, "workers", "in-process", "where workers are: in-process, or own for processes of their own")
	f.StringVar(&procs, "procs", "", "processes to count the CPU of, as name=PID,...; such as kafka=4711")
	f.StringVar(&r.profiles, "cpuprofile", "", "folder for CPU profiles of the servers")
	f.Lookup("cpuprofile").Hidden = true
	withJSON(cmd)
	return cmd
}

func benchNames() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	for _, c := range benchCases() {
		fmt.Fprintf(w, "  %s\t%s\n", c.name, c.short) //nolint:errcheck // a builder takes everything
	}
	w.Flush() //nolint:errcheck // the same
	return b.String()
}

func chooseBench(args []string) (benchCase, error) {
	var names []string
	for _, c := range benchCases() {
		if len(args) == 1 && c.name == args[0] {
			return c, nil
		}
		names = append(names, c.name)
	}
	return benchCase{}, domain.InvalidField("NAME", fmt.Sprintf("%q is not one thing to measure", strings.Join(args, " ")), "choose from "+strings.Join(names, ", "))
}

// parseProcs reads name=PID,...
func parseProcs(text string) (map[string]int, error) {
	procs := make(map[string]int)
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		pid, err := strconv.Atoi(value)
		if err != nil || name == "" || pid < 1 {
			return nil, domain.InvalidField("--procs", fmt.Sprintf("%q is not a process", part), "write name=PID, such as kafka=4711")
		}
		procs[name] = pid
	}
	return procs, nil
}

func (r *benchRun) check(workers string) error {
	if workers != "in-process" && workers != "own" {
		return domain.InvalidField("--workers", fmt.Sprintf("%q is no place for workers", workers), "choose in-process or own")
	}
	r.own = workers == "own"
	for name, n := range map[string]int{
		"--runs": r.Runs, "--inflight": r.InFlight, "--seconds": r.Seconds, "--rounds": r.Rounds, "--rate": r.Rate, "--events": r.Events,
		"--callers": slices.Min(append(r.Callers, 1)) - 1,
	} {
		if n < 0 {
			return domain.InvalidField(name, "is too small", "give a number above 0, or leave it out")
		}
	}
	switch domain.EffectClass(r.Effect) {
	case "", domain.Repeatable, domain.Keyed, domain.AtMostOnce:
		return nil
	}
	return domain.InvalidField("--effect", fmt.Sprintf("%q is not an effect", r.Effect), "choose repeatable, keyed or at_most_once")
}

// measure does one case in a world of its own.
func (r *benchRun) measure(cmd *cobra.Command, c benchCase) (err error) {
	ctx := cmd.Context()
	cfg, logger, err := settings()
	if err != nil {
		return err
	}
	if os.Getenv("HISHAMOS_LOG_LEVEL") == "" { // progress and figures say enough
		cfg.LogLevel = slog.LevelWarn
		logger = newLogger(cfg)
	}
	r.name = c.name
	if r.world, err = openWorld(ctx, cfg, logger, cmd.ErrOrStderr(), c.shared || r.own); err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			r.lastWords()
		}
		closing := r.close(context.WithoutCancel(ctx))
		switch {
		case ctx.Err() != nil:
			err = errors.Join(errors.New("interrupted"), closing)
		default:
			err = errors.Join(err, closing)
		}
	}()
	sync, err := bench.SyncTime(r.dir)
	if err != nil {
		return err
	}
	r.emit = func(f figure) error {
		f.Bench, f.Setup = r.name, r.setup(bench.Milliseconds(float64(sync)))
		return printFigure(cmd.OutOrStdout(), f, wantsJSON(cmd))
	}
	return c.run(r, ctx)
}

func (r *benchRun) setup(sync float64) setup {
	s := setup{
		Version: version, Profile: "cluster", Partitions: r.cfg.KafkaPartitions, Express: bool(r.cfg.Express), Workers: "in-process",
		CPUs: runtime.NumCPU(), SyncMS: sync, benchSizes: r.benchSizes,
	}
	if r.cfg.EmbeddedPostgres() || r.cfg.EmbeddedLog() {
		s.Profile = "embedded"
	}
	if r.own {
		s.Workers = "own"
	}
	return s
}

// printFigure writes a figure as a line of JSON or as a table.
func printFigure(out io.Writer, f figure, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(f)
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	s := f.Setup
	_, err := fmt.Fprintf(w, "%s\t%s\t%s, %d partitions, express %v, workers %s, %d CPUs, sync %.2f ms, version %s\n",
		f.Bench, f.Case, s.Profile, s.Partitions, s.Express, s.Workers, s.CPUs, s.SyncMS, s.Version)
	for _, name := range slices.Sorted(maps.Keys(f.Values)) {
		_, printing := fmt.Fprintf(w, "  %s\t%.4g\n", name, f.Values[name])
		err = errors.Join(err, printing)
	}
	for _, note := range f.Notes {
		_, printing := fmt.Fprintf(w, "  %s\n", note)
		err = errors.Join(err, printing)
	}
	return errors.Join(err, w.Flush())
}
