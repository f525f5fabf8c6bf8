package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// ownBroker starts an Apache Kafka of the test's own: the topics have fixed
// names, and these drills delete them. It goes by what testenv fetched; where
// HISHAMOS_TEST_KAFKA is not set there is none.
func ownBroker(t *testing.T) (address string) {
	t.Helper()
	if os.Getenv("HISHAMOS_TEST_KAFKA") == "" {
		t.Skip("HISHAMOS_TEST_KAFKA is not set: there is no Kafka here")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	programs := filepath.Join(cache, "hishamos", "kafka-4.3.1")
	if err := os.MkdirAll(programs, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(programs, filepath.Join(home, "libs-4.3.1")); err != nil {
		t.Fatal(err)
	}
	port := freePorts(t, 2)
	run := func(verb string) {
		cmd := exec.Command("bash", filepath.Join("..", "..", "internal", "tools", "kafka.sh"), verb)
		cmd.Env = append(os.Environ(), "KAFKA_VERSION=4.3.1", "KAFKA_HOME="+home, "KAFKA_PORT="+strconv.Itoa(port), "KAFKA_HEAP=384m")
		cmd.WaitDelay = time.Second // the broker holds on to our output
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s Kafka: %v\n%s", verb, err, out)
		}
	}
	run("start")
	t.Cleanup(func() { run("stop") })
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// bulk is how many further events the drills on a real broker are made with;
// many of them measure.
func bulk(t *testing.T) int {
	t.Helper()
	text := os.Getenv("HISHAMOS_TEST_DRILL_EVENTS")
	if text == "" {
		return 1000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTheDrillsHoldOnARealBroker(t *testing.T) {
	t.Parallel()
	d := &drill{t: t, database: drillDatabase(t), data: t.TempDir(), kafka: ownBroker(t)}
	work := &performer{}
	p := d.start((*node).runRelay, (*node).runProjections, (*node).runReactions, work.run)
	p.fill(20)
	p.allEnded()
	for i := range bulk(t) / 1000 {
		p.rotations(domain.NamedStreamID(domain.DefaultTenant, "token", strconv.Itoa(i%16)), 1000)
	}
	before, head := p.quiesce(), p.head()
	p.stop()

	d.database = drillDatabase(t) // Postgres is lost
	p = d.open()
	var back recovered
	p.must(p.operation(&back, storeFromKafka))
	t.Logf("store-from-kafka: %d events, %s", back.Events, back.pace)
	if got := p.head(); got.Hash != head.Hash || got.Position != head.Position {
		t.Errorf("head %+v, want %+v", got, head)
	}
	var built []rebuilt
	p.must(p.operation(&built, rebuildAll))
	for _, b := range built {
		t.Logf("rebuild %s: %d events, %s", b.Projection, b.Events, b.pace)
	}
	p.stop()

	p = d.open() // Kafka is lost
	p.must(p.reach(t.Context()))
	topics, err := p.eventTopics(t.Context())
	p.must(err)
	p.must(p.log.Delete(t.Context(), topics...))
	var again refilled
	p.must(p.operation(&again, func(o *operation, ctx context.Context) error { return o.kafkaFromStore(ctx, false) }))
	t.Logf("kafka-from-store: %d events, %s", again.Events, again.pace)
	p.stop()

	watching := &performer{}
	p = d.start((*node).runRelay, (*node).runProjections, (*node).runReactions, watching.run)
	same(t, "digests", p.quiesce(), before)
	if n := watching.attempts(); n != 0 {
		t.Errorf("%d steps were made again", n)
	}
	p.fill(1)
	p.allEnded()
	p.quiesce()
	p.verifyAll()
	p.onKafkaAsInStore()
}
