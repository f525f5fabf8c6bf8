package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/bench"
	"github.com/hishamos/hishamos/internal/config"
	"github.com/hishamos/hishamos/internal/embedded"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

// world is what a benchmark runs on: a folder, databases and topics of its own,
// which go when it ends. On the embedded profile this process holds Postgres, so
// that its work can be told from the server's, and the broker too where several
// processes share it.
type world struct {
	cfg     config.Config
	logger  *slog.Logger
	out     io.Writer // for progress
	said    *os.File  // what the servers say
	name    string
	dir     string
	server  string // of Postgres
	url     string // of the database in use
	brokers []string
	keepLog bool // all of the embedded one
	anyRate bool // no limit on requests, nor on the commands of a stream
	servers []*benchServer
	stops   []func(context.Context) error
}

// openWorld makes the folder and the first database. Shared says that several
// processes must reach the broker.
func openWorld(ctx context.Context, cfg config.Config, logger *slog.Logger, out io.Writer, shared bool) (_ *world, err error) {
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil { // documented never to fail
		panic(err)
	}
	w := &world{cfg: cfg, logger: logger, out: out, name: "hishamos-bench-" + hex.EncodeToString(id[:]), brokers: cfg.KafkaBrokers}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close(context.WithoutCancel(ctx)))
		}
	}()
	data, err := filepath.Abs(cfg.Data)
	if err != nil {
		return nil, fmt.Errorf("find the data folder: %w", err)
	}
	w.dir = filepath.Join(filepath.Dir(data), w.name) // the same disk
	folder, err := embedded.OpenFolder(w.dir)
	if err != nil {
		return nil, err
	}
	w.onClose(func(context.Context) error { return errors.Join(folder.Close(), os.RemoveAll(w.dir)) })
	if w.said, err = os.Create(filepath.Join(w.dir, "servers.log")); err != nil {
		return nil, fmt.Errorf("keep what the servers say: %w", err)
	}
	w.onClose(func(context.Context) error { return w.said.Close() })
	if err := w.openPostgres(ctx, data); err != nil {
		return nil, err
	}
	if err := w.freshDatabase(ctx); err != nil {
		return nil, err
	}
	if cfg.EmbeddedLog() {
		if shared {
			err = w.openBroker(ctx, folder)
		}
		return w, err
	}
	w.onClose(func(context.Context) error { return w.dropTopics() })
	return w, nil
}

func (w *world) openPostgres(ctx context.Context, data string) error {
	w.server = w.cfg.DatabaseURL.Reveal()
	if !w.cfg.EmbeddedPostgres() {
		return nil
	}
	w.say("starting Postgres")
	p, err := embedded.StartPostgres(ctx, embedded.PostgresOptions{
		Dir: filepath.Join(w.dir, "postgres"), Cache: filepath.Join(data, "cache"), Binaries: w.cfg.PostgresBin, Maven: w.cfg.MavenURL,
	})
	if err != nil {
		return err
	}
	w.onClose(p.Stop)
	w.server = p.URL()
	return nil
}

func (w *world) openBroker(ctx context.Context, folder *embedded.Folder) error {
	dir, err := folder.Sub("broker")
	if err != nil {
		return err
	}
	b, err := embedded.StartBroker(ctx, embedded.BrokerOptions{Dir: dir, Logger: w.logger})
	if err != nil {
		return err
	}
	w.onClose(func(context.Context) error { b.Stop(); return nil })
	w.brokers = []string{b.Addr()}
	return nil
}

// freshDatabase makes a database and lets what is started from now on use it.
func (w *world) freshDatabase(ctx context.Context) error {
	u, err := url.Parse(w.server)
	if err != nil {
		return errors.New("read DATABASE_URL: not an address") // the error would show the password
	}
	name := fmt.Sprintf("%s_%d", strings.ReplaceAll(w.name, "-", "_"), len(w.stops))
	if err := w.onServer(ctx, "create database "+name); err != nil {
		return fmt.Errorf("make a database for the benchmark (the user needs the right CREATEDB): %w", err)
	}
	w.onClose(func(ctx context.Context) error { return w.onServer(ctx, "drop database "+name+" with (force)") })
	u.Path = "/" + name
	w.url = u.String()
	return nil
}

func (w *world) onServer(ctx context.Context, sql string) error {
	c, err := pgx.Connect(ctx, w.server)
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, sql)
	return errors.Join(err, c.Close(ctx))
}

// dropTopics removes the topics and groups of this benchmark from a Kafka that
// belongs to others.
func (w *world) dropTopics() (err error) {
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	admin, err := sarama.NewClusterAdmin(w.brokers, config)
	if err != nil {
		return fmt.Errorf("remove the benchmark's topics: %w", err)
	}
	defer func() { err = errors.Join(err, admin.Close()) }()
	topics, err := admin.ListTopics()
	if err != nil {
		return fmt.Errorf("remove the benchmark's topics: %w", err)
	}
	for name := range topics {
		if strings.HasPrefix(name, w.name) {
			err = errors.Join(err, admin.DeleteTopic(name))
		}
	}
	groups, listing := admin.ListConsumerGroups()
	for name := range groups {
		if strings.HasPrefix(name, w.name) {
			err = errors.Join(err, admin.DeleteConsumerGroup(name))
		}
	}
	return errors.Join(err, listing)
}

// environ is the environment of a process of this world.
func (w *world) environ() []string {
	own := []string{
		"HISHAMOS_DATA=" + filepath.Join(w.dir, "data"), "XDG_CONFIG_HOME=" + filepath.Join(w.dir, "config"),
		"DATABASE_URL=" + w.url, "KAFKA_BROKERS=" + strings.Join(w.brokers, ","), "OPENAI_API_KEY=", "HISHAMOS_URL=", "HISHAMOS_TOKEN=",
		"HISHAMOS_KAFKA_PARTITIONS=" + strconv.Itoa(w.cfg.KafkaPartitions),
		"HISHAMOS_KAFKA_PREFIX=" + w.prefix(),
	}
	if w.keepLog {
		own = append(own, "HISHAMOS_LOG_RETAIN=all")
	}
	unlessSet := map[string]string{"HISHAMOS_LOG_LEVEL": "warn", "HISHAMOS_WORKERS": strconv.Itoa(benchSlots)}
	if w.anyRate {
		for _, limit := range []string{"HISHAMOS_STREAM_RATE", "HISHAMOS_TOKEN_REQUESTS", "HISHAMOS_TENANT_REQUESTS"} {
			unlessSet[limit] = "0"
		}
	}
	for name, value := range unlessSet {
		if os.Getenv(name) == "" {
			own = append(own, name+"="+value)
		}
	}
	return append(os.Environ(), own...)
}

// benchSlots is how many steps a server works on at once, if nothing is set:
// steps that do nothing wait for nothing but their report.
const benchSlots = 1024

func (w *world) prefix() string {
	if w.cfg.EmbeddedLog() {
		return ""
	}
	return w.name + "."
}

// dial signs in at the first server with an API, once it is ready.
func (w *world) dial(ctx context.Context) (*hishamos.Client, error) {
	path, err := config.ClientPath(w.environ())
	if err != nil {
		return nil, err
	}
	file, err := config.LoadClient(path)
	if err != nil {
		return nil, err
	}
	return bench.Dial(w.servers[0].address, file.Token.Reveal())
}

// operate runs an operator's command, as a user would, and returns what it says.
func (w *world) operate(ctx context.Context, args ...string) ([]byte, error) {
	var out, errs bytes.Buffer
	cmd, err := w.command(ctx, args...)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("hishamos %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.Bytes(), nil
}

func (w *world) say(format string, args ...any) {
	fmt.Fprintf(w.out, format+"\n", args...) //nolint:errcheck // nobody may be listening
}

// lastWords shows the end of what the servers said, after a failure.
func (w *world) lastWords() {
	const most = 4 << 10
	text, err := os.ReadFile(w.said.Name())
	if err != nil || len(text) == 0 {
		return
	}
	w.say("the servers said last:\n%s", text[max(0, len(text)-most):])
}

func (w *world) onClose(f func(context.Context) error) { w.stops = append(w.stops, f) }

// closePatience bounds how long the servers and stores may take to end.
const closePatience = time.Minute

// close stops the servers and removes everything.
func (w *world) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closePatience)
	defer cancel()
	errs := []error{w.stop(ctx)}
	for i := len(w.stops) - 1; i >= 0; i-- {
		errs = append(errs, w.stops[i](ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up after the benchmark: %w", err)
	}
	return nil
}

// errNoAnswer says that a server of the benchmark has not come up.
var errNoAnswer = &domain.Error{
	Kind: domain.Unavailable, Code: "bench.no_answer", Message: "a server of the benchmark does not answer",
	Fix: "see what it said last, or try `hishamos serve` with the same settings",
}
