package kafka_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hishamos/hishamos/internal/log"
)

// unled starts a cluster whose leader denies the first so many questions.
func unled(t *testing.T, denials int, opts ...kfake.Opt) (log.Log, *kfake.FaultHandle) {
	t.Helper()
	cluster, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	fault := cluster.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: p0.Topic, Err: kerr.NotLeaderForPartition, Count: denials,
	})
	return opener(cluster.ListenAddrs()[0])(t), fault
}

func TestATopicIsMadeWhenItsBrokersLeadIt(t *testing.T) {
	t.Parallel()
	const denials = 10
	l, fault := unled(t, denials)
	w, err := log.NewWriter(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Create(t.Context(), []log.Topic{{Name: p0.Topic, Partitions: 1}}); err != nil {
		t.Fatal(err)
	}
	if fault.Hits() != denials {
		t.Fatalf("made after %d of %d denials", fault.Hits(), denials)
	}
	ack, err := w.Send(t.Context(), numbered(0, 1))
	if err == nil {
		err = ack.Err()
	}
	if err != nil {
		t.Fatalf("a writer from before: %v", err)
	}
}

func TestBoundsFollowALeaderThatMoves(t *testing.T) {
	t.Parallel()
	l, fault := unled(t, 2, kfake.SeedTopics(1, p0.Topic))
	if _, err := l.Bounds(t.Context(), p0); err != nil {
		t.Error(err)
	}
	if fault.Hits() != 2 {
		t.Errorf("denied %d times", fault.Hits())
	}
}

func TestTopicsAreAskedForAgainWhenTheControllerHasMoved(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	moved := func(k kmsg.Key) *kfake.FaultHandle {
		return cluster.Fault(kfake.Fault{Keys: []kmsg.Key{k}, Err: kerr.NotController, Count: 2})
	}
	made, removed := moved(kmsg.CreateTopics), moved(kmsg.DeleteTopics)
	l := opener(cluster.ListenAddrs()[0])(t)
	topics := []log.Topic{{Name: p0.Topic, Partitions: 1}, {Name: p0.Topic + ".more", Partitions: 2}}
	if err := l.Create(t.Context(), topics); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Topics(t.Context(), p0.Topic); err != nil || len(got) != 2 || got[topics[1].Name] != 2 {
		t.Errorf("topics %v, %v", got, err)
	}
	if err := l.Delete(t.Context(), topics[0].Name, topics[1].Name, "never.made"); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Topics(t.Context(), p0.Topic); err != nil || len(got) != 0 {
		t.Errorf("after they were deleted: %v, %v", got, err)
	}
	if made.Hits() != 2 || removed.Hits() != 2 {
		t.Errorf("the controller denied %d and %d times, not 2 each", made.Hits(), removed.Hits())
	}
}
