package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/hishamos/hishamos/internal/log"
)

// Create implements log.Log. It returns when every partition it made is led.
func (l *Log) Create(ctx context.Context, topics []log.Topic) error {
	return l.fault("create topics", await(ctx, func() error {
		made := make(map[log.Partition]bool)
		return settled(ctx, func() error { return l.createOnce(topics, made) })
	}))
}

// Kafka creates topics in the background: it may say that one exists before it
// describes it, describe it before its brokers lead it, and one may go while we
// look.
const (
	settlePatience = 30 * time.Second
	firstPause     = 10 * time.Millisecond // doubled each time
	settlePause    = 100 * time.Millisecond
	adminTimeout   = 10 * time.Second // how long a broker may take for topics
)

// errSettling says that the cluster has not made up its mind about a topic.
var errSettling = errors.New("topic is not there yet")

// settled tries until the cluster has made up its mind.
func settled(ctx context.Context, try func() error) error {
	wait := firstPause
	for end := time.Now().Add(settlePatience); ; wait = min(2*wait, settlePause) {
		err := try()
		if !errors.Is(err, errSettling) || time.Now().After(end) {
			return err
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// createOnce adds the partitions that were missing to made.
func (l *Log) createOnce(topics []log.Topic, made map[log.Partition]bool) error {
	existing, err := l.describe(topics)
	if err != nil {
		return err
	}
	replicas := l.opts.ReplicationFactor
	if replicas == 0 {
		replicas = min(3, max(1, len(l.client.Brokers())))
	}
	var lacking []log.Topic
	for _, t := range topics {
		have, ok := existing[t.Name]
		if !ok {
			lacking = append(lacking, t)
			continue
		}
		if err := lint(t, int(have.NumPartitions), int(have.ReplicationFactor), values(have.ConfigEntries)); err != nil {
			return err
		}
	}
	if len(lacking) == 0 {
		return l.led(slices.Collect(maps.Keys(made)))
	}
	if err := l.makeAll(lacking, replicas); err != nil {
		return err
	}
	for _, t := range lacking {
		for id := range t.Partitions {
			made[log.Partition{Topic: t.Name, ID: int32(id)}] = true
		}
	}
	return errSettling // once more, to check what was made, by us or by another
}

// makeAll creates topics by one request: a broker takes tens of milliseconds for
// each.
func (l *Log) makeAll(topics []log.Topic, replicas int) error {
	details := make(map[string]*sarama.TopicDetail, len(topics))
	for _, t := range topics {
		detail := &sarama.TopicDetail{NumPartitions: int32(t.Partitions), ReplicationFactor: int16(replicas), ConfigEntries: map[string]*string{}}
		for k, v := range settings(t, replicas) {
			detail.ConfigEntries[k] = &v
		}
		details[t.Name] = detail
	}
	answers, err := controlled(l, func(b *sarama.Broker) (*sarama.CreateTopicsResponse, error) {
		return b.CreateTopics(sarama.NewCreateTopicsRequest(protocol, details, adminTimeout, false))
	})
	if err != nil {
		return err
	}
	for _, t := range topics {
		answer := answers.TopicErrors[t.Name]
		switch {
		case answer == nil:
			return fmt.Errorf("topic %s: %w", t.Name, sarama.ErrIncompleteResponse)
		case answer.Err == sarama.ErrNotController:
			return l.lookAgain(answer)
		case answer.Err != sarama.ErrNoError && answer.Err != sarama.ErrTopicAlreadyExists:
			return fmt.Errorf("topic %s with %d replicas: %w", t.Name, replicas, answer)
		}
	}
	return nil
}

// controlled asks the controller. A connection that was cut is as one that moved.
func controlled[A any](l *Log, ask func(*sarama.Broker) (A, error)) (A, error) {
	var none A
	b, err := l.admin.Controller()
	if err != nil {
		return none, err
	}
	answer, err := ask(b)
	if errors.Is(err, io.EOF) {
		_ = b.Close() // the next use opens it anew
		return none, l.lookAgain(err)
	}
	return answer, err
}

// lookAgain finds the controller anew; what was asked of it is to be asked again.
func (l *Log) lookAgain(because error) error {
	if _, err := l.client.RefreshController(); err != nil {
		return errors.Join(because, err)
	}
	return fmt.Errorf("%w: %w", errSettling, because)
}

// led asks each partition's leader: the cluster names one before the broker
// knows of it.
func (l *Log) led(partitions []log.Partition) error {
	if len(partitions) == 0 {
		return nil
	}
	_, err := l.offsets(partitions, sarama.OffsetNewest)
	if hasMoved(err) {
		return fmt.Errorf("%w: %w", errSettling, err)
	}
	return err
}

// describe returns the topics that exist, with the settings that differ from
// the broker's own defaults and those that do not.
func (l *Log) describe(topics []log.Topic) (map[string]sarama.TopicDetail, error) {
	if len(topics) == 0 { // which would ask for all
		return nil, nil
	}
	meta, err := l.admin.DescribeTopics(names(topics))
	if err != nil {
		return nil, err
	}
	out := make(map[string]sarama.TopicDetail)
	var resources []*sarama.ConfigResource
	for _, m := range meta {
		if m.Err == sarama.ErrUnknownTopicOrPartition {
			continue
		}
		if m.Err != sarama.ErrNoError {
			return nil, fmt.Errorf("topic %s: %w", m.Name, m.Err)
		}
		d := sarama.TopicDetail{NumPartitions: int32(len(m.Partitions)), ConfigEntries: map[string]*string{}}
		if len(m.Partitions) > 0 {
			d.ReplicationFactor = int16(len(m.Partitions[0].Replicas))
		}
		out[m.Name] = d
		resources = append(resources, &sarama.ConfigResource{Type: sarama.TopicResource, Name: m.Name})
	}
	if len(resources) == 0 {
		return out, nil
	}
	results, err := l.admin.DescribeConfigs(resources, sarama.DescribeConfigsOptions{})
	if err != nil {
		return nil, err
	}
	for _, r := range results {
		if r.ErrorCode == sarama.ErrUnknownTopicOrPartition {
			delete(out, r.Name)
			continue
		}
		if r.ErrorCode != sarama.ErrNoError {
			return nil, fmt.Errorf("settings of topic %s: %w", r.Name, r.ErrorCode)
		}
		for _, e := range r.Configs {
			out[r.Name].ConfigEntries[e.Name] = &e.Value
		}
	}
	return out, nil
}

// Topics implements log.Log.
func (l *Log) Topics(ctx context.Context, prefix string) (map[string]int, error) {
	out := make(map[string]int)
	err := await(ctx, func() error {
		meta, err := l.admin.DescribeTopics(nil)
		for _, m := range meta {
			if m.Err == sarama.ErrNoError && strings.HasPrefix(m.Name, prefix) {
				out[m.Name] = len(m.Partitions)
			}
		}
		return err
	})
	if err != nil {
		return nil, l.fault("list topics", err)
	}
	return out, nil
}

// Delete implements log.Log. Topics that do not exist are no error.
func (l *Log) Delete(ctx context.Context, topics ...string) error {
	return l.fault("delete topics", await(ctx, func() error {
		asked := len(topics) == 0
		return settled(ctx, func() error {
			if !asked {
				if err := l.removeAll(topics); err != nil {
					return err
				}
				asked = true
			}
			left, err := l.describe(asTopics(topics))
			if err == nil && len(left) > 0 {
				return errSettling // deleted is not yet gone
			}
			return err
		})
	}))
}

// removeAll deletes topics by one request.
func (l *Log) removeAll(topics []string) error {
	answers, err := controlled(l, func(b *sarama.Broker) (*sarama.DeleteTopicsResponse, error) {
		return b.DeleteTopics(sarama.NewDeleteTopicsRequest(protocol, topics, adminTimeout))
	})
	if err != nil {
		return err
	}
	for _, name := range topics {
		code, ok := answers.TopicErrorCodes[name]
		switch {
		case !ok:
			return fmt.Errorf("topic %s: %w", name, sarama.ErrIncompleteResponse)
		case code == sarama.ErrNotController:
			return l.lookAgain(code)
		case code != sarama.ErrNoError && code != sarama.ErrUnknownTopicOrPartition:
			return fmt.Errorf("topic %s: %w", name, code)
		}
	}
	return nil
}

// Bounds implements log.Log.
func (l *Log) Bounds(ctx context.Context, partitions ...log.Partition) (map[log.Partition]log.Bounds, error) {
	out := make(map[log.Partition]log.Bounds, len(partitions))
	if len(partitions) == 0 {
		return out, nil
	}
	err := await(ctx, func() error {
		first, err := l.offsets(partitions, sarama.OffsetOldest)
		if err != nil {
			return err
		}
		end, err := l.offsets(partitions, sarama.OffsetNewest)
		for _, p := range partitions {
			out[p] = log.Bounds{First: first[p], End: end[p]}
		}
		return err
	})
	if err != nil {
		return nil, l.fault("read bounds", err)
	}
	return out, nil
}

// offsets asks the leaders, and looks for them again where they have moved.
func (l *Log) offsets(partitions []log.Partition, at int64) (out map[log.Partition]int64, err error) {
	ask := make(map[string]map[int32]int64)
	for _, p := range partitions {
		if ask[p.Topic] == nil {
			ask[p.Topic] = make(map[int32]int64)
		}
		ask[p.Topic][p.ID] = at
	}
	for range 3 {
		if out, err = l.listOffsets(partitions, ask); !hasMoved(err) {
			break
		}
		if e := l.client.RefreshMetadata(slices.Collect(maps.Keys(ask))...); e != nil {
			return nil, errors.Join(err, e)
		}
	}
	return out, err
}

func (l *Log) listOffsets(partitions []log.Partition, ask map[string]map[int32]int64) (map[log.Partition]int64, error) {
	answer, err := l.admin.ListOffsets(ask, nil)
	if err != nil {
		return nil, err
	}
	out := make(map[log.Partition]int64, len(partitions))
	for _, p := range partitions {
		o, ok := answer[p.Topic][p.ID]
		if !ok {
			return nil, fmt.Errorf("%s: %w", p, sarama.ErrIncompleteResponse)
		}
		if o.Err != sarama.ErrNoError {
			return nil, fmt.Errorf("%s: %w", p, o.Err)
		}
		out[p] = o.Offset
	}
	return out, nil
}

// Trim implements log.Log.
func (l *Log) Trim(ctx context.Context, p log.Partition, before int64) error {
	return l.fault("trim "+p.String(), await(ctx, func() error {
		err := l.admin.DeleteRecords(p.Topic, map[int32]int64{p.ID: before})
		if errors.Is(err, sarama.ErrOffsetOutOfRange) {
			return fmt.Errorf("before %d: %w", before, log.ErrOffsetOutOfRange)
		}
		return err
	}))
}

func names(topics []log.Topic) []string {
	out := make([]string, len(topics))
	for i, t := range topics {
		out[i] = t.Name
	}
	return out
}

func asTopics(names []string) []log.Topic {
	out := make([]log.Topic, len(names))
	for i, n := range names {
		out[i] = log.Topic{Name: n}
	}
	return out
}

func values(entries map[string]*string) map[string]string {
	out := make(map[string]string, len(entries))
	for _, k := range slices.Sorted(maps.Keys(entries)) {
		if v := entries[k]; v != nil {
			out[k] = *v
		}
	}
	return out
}

// pause waits, or less when the context ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
