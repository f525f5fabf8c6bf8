package kafka

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/log"
)

// ErrUnsafeTopic says that an existing topic could lose or refuse records.
var ErrUnsafeTopic = &domain.Error{
	Kind: domain.Invalid, Code: "log.unsafe_topic",
	Message: "a topic has an unsafe setting", Fix: "alter the topic, or delete it: it is refilled from the event store",
}

// settings are what a topic must have: keep everything, never elect a replica
// that lacks records, and take our largest batch. The topic's own Config comes
// first; only there can an operator bound the retention.
func settings(t log.Topic, replicas int) map[string]string {
	c := map[string]string{
		"cleanup.policy":                 "delete",
		"retention.ms":                   "-1",
		"retention.bytes":                "-1",
		"unclean.leader.election.enable": "false",
		"min.insync.replicas":            strconv.Itoa(max(1, replicas-1)),
		"max.message.bytes":              strconv.Itoa(maxMessage),
	}
	maps.Copy(c, t.Config)
	return c
}

// atLeast names the settings for which more is as good.
var atLeast = []string{"min.insync.replicas", "max.message.bytes"}

// lint compares an existing topic with what it must have. A setting that the
// broker does not report is not judged: the embedded broker knows fewer.
func lint(t log.Topic, partitions, replicas int, actual map[string]string) error {
	if t.Partitions != partitions {
		e := ErrUnsafeTopic.With("topic %s has %d partitions, not %d", t.Name, partitions, t.Partitions)
		e.Fix = "set the number of partitions to what the topic has, or refill the log under a new epoch"
		return e
	}
	want := settings(t, replicas)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		got, reported := actual[name]
		if !reported || got == want[name] {
			continue
		}
		if slices.Contains(atLeast, name) {
			g, err1 := strconv.ParseInt(got, 10, 64)
			w, err2 := strconv.ParseInt(want[name], 10, 64)
			if err1 == nil && err2 == nil && g >= w {
				continue
			}
		}
		e := ErrUnsafeTopic.With("topic %s has %s=%s, not %s", t.Name, name, got, want[name])
		e.Fix = fmt.Sprintf("kafka-configs --alter --topic %s --add-config %s=%s", t.Name, name, want[name])
		return e
	}
	return nil
}
