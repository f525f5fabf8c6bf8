package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/hishamos/hishamos/internal/log"
)

// CommitOffsets implements log.Offsets. The group must have no members.
func (l *Log) CommitOffsets(ctx context.Context, group string, at map[log.Partition]log.Resume) error {
	if len(at) == 0 {
		return nil
	}
	commit := make(map[string]map[int32]sarama.OffsetAndMetadata)
	for p, r := range at {
		if commit[p.Topic] == nil {
			commit[p.Topic] = make(map[int32]sarama.OffsetAndMetadata)
		}
		commit[p.Topic][p.ID] = sarama.OffsetAndMetadata{Offset: r.Offset, Metadata: r.Metadata, LeaderEpoch: -1}
	}
	return l.fault("commit offsets of "+group, coordinated(ctx, func() error {
		answer, err := l.admin.AlterConsumerGroupOffsets(group, commit, nil)
		if err != nil {
			return err
		}
		var errs []error
		for topic, partitions := range answer.Errors {
			for id, e := range partitions {
				if e != sarama.ErrNoError {
					errs = append(errs, fmt.Errorf("%s/%d: %w", topic, id, e))
				}
			}
		}
		return errors.Join(errs...)
	}))
}

// CommittedOffsets implements log.Offsets.
func (l *Log) CommittedOffsets(ctx context.Context, group string, partitions ...log.Partition) (map[log.Partition]log.Resume, error) {
	out := make(map[log.Partition]log.Resume)
	if len(partitions) == 0 {
		return out, nil
	}
	ask := make(map[string][]int32)
	for _, p := range partitions {
		ask[p.Topic] = append(ask[p.Topic], p.ID)
	}
	err := coordinated(ctx, func() error {
		answer, err := l.admin.ListConsumerGroupOffsets(group, ask)
		if errors.Is(err, sarama.ErrGroupIDNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if answer.Err != sarama.ErrNoError && answer.Err != sarama.ErrGroupIDNotFound {
			return answer.Err
		}
		for _, p := range partitions {
			b := answer.GetBlock(p.Topic, p.ID)
			if b == nil {
				continue
			}
			if b.Err != sarama.ErrNoError {
				return fmt.Errorf("%s: %w", p, b.Err)
			}
			if b.Offset < 0 {
				continue
			}
			out[p] = log.Resume{Offset: b.Offset, Metadata: b.Metadata}
		}
		return nil
	})
	if err != nil {
		return nil, l.fault("read offsets of "+group, err)
	}
	return out, nil
}

// coordinatorPause is how long a group's coordinator gets to load or move.
const coordinatorPause = 100 * time.Millisecond

// coordinated repeats a question to a group's coordinator while it is not there
// yet: a broker that just started, or just took the group over, says so.
func coordinated(ctx context.Context, ask func() error) error {
	for {
		err := await(ctx, ask)
		if !loading(err) || pause(ctx, coordinatorPause) != nil {
			return err
		}
	}
}

// loading tells whether a coordinator is not there yet.
func loading(err error) bool {
	return errors.Is(err, sarama.ErrOffsetsLoadInProgress) || errors.Is(err, sarama.ErrConsumerCoordinatorNotAvailable) ||
		errors.Is(err, sarama.ErrNotCoordinatorForConsumer)
}
