package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/handlers"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/projection"
	"github.com/hishamos/hishamos/internal/reaction"
)

// requeuePatience is how long a command waits for the owner of a partition to do
// what was asked.
const requeuePatience = 30 * time.Second

// requeueEvery is how often it looks.
const requeueEvery = 100 * time.Millisecond

// errStillPoison says that replaying did not help.
var errStillPoison = &domain.Error{
	Kind: domain.Conflict, Code: "projection.still_poison",
	Message: "the stream cannot be applied", Fix: "upgrade to a build that can, then requeue again",
}

// errNobodyOwns says that what was asked is noted but not done yet.
var errNobodyOwns = &domain.Error{
	Kind: domain.Unavailable, Code: "requeue.waiting",
	Message: "it is noted, but no process has done it yet", Fix: "start a process with the role projections or handlers; it does it then",
}

// requeue asks for a parked stream to be replayed and waits for the outcome. With
// embedded stores no other process can run, so this one does it.
func (o *operation) requeue(ctx context.Context, name string, stream domain.StreamID) error {
	if err := known(name); err != nil {
		return err
	}
	if err := o.asking.Requeue(ctx, name, stream); err != nil {
		return err
	}
	if o.folder != nil {
		if err := o.connect(ctx); err != nil {
			return err
		}
		defer o.beside(ctx, roleProjections, o.runProjections)()
	}
	for deadline := time.Now().Add(requeuePatience); ; {
		parked, err := o.parkedStream(ctx, name, stream)
		switch {
		case err != nil:
			return err
		case parked == nil:
			return o.answer(map[string]any{"projection": name, "stream": stream, "parked": false}, "%s: %s is whole again", name, stream)
		case !parked.Requested:
			return errStillPoison.With("%s cannot be applied to %s: position %d: %s", stream, name, parked.Position, firstLine(parked.Cause))
		case time.Now().After(deadline):
			return errNobodyOwns
		case !wait(ctx, requeueEvery):
			return context.Cause(ctx)
		}
	}
}

func (n *node) parkedStream(ctx context.Context, name string, stream domain.StreamID) (*projection.Parked, error) {
	s, err := n.asking.Status(ctx, name)
	if err != nil {
		return nil, err
	}
	for i, p := range s.Parked {
		if p.Stream == stream {
			return &s.Parked[i], nil
		}
	}
	return nil, nil
}

// firstLine leaves the stack of a panic out.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func newDeadLetters() *cobra.Command {
	cmd := &cobra.Command{Use: "dead-letters", Short: "List events that a reaction could not handle, or have them handled again"}
	for _, c := range []struct {
		use, short string
		do         func(*operation, context.Context, string) error
	}{
		{"list REACTION", "List the dead letters of a reaction that were not requeued", (*operation).listLetters},
		{"requeue REACTION", "Have a reaction's dead letters handled again, in order", (*operation).requeueLetters},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: c.use, Short: c.short, Args: cobra.ExactArgs(1),
			RunE: operate(func(ctx context.Context, o *operation) error {
				if err := o.knownReaction(o.args[0]); err != nil {
					return err
				}
				if err := o.connect(ctx); err != nil {
					return err
				}
				return c.do(o, ctx, o.args[0])
			}),
		})
	}
	return cmd
}

func (n *node) knownReaction(name string) error {
	var names []string
	for _, r := range handlers.All(n.ports()) {
		if names = append(names, r.Name); r.Name == name {
			return nil
		}
	}
	return domain.InvalidField("REACTION", fmt.Sprintf("there is no reaction %q", name), fmt.Sprintf("choose from %v", names))
}

func (o *operation) listLetters(ctx context.Context, name string) error {
	letters, err := reaction.Letters(ctx, o.log, name)
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(o.out, append([]reaction.Letter{}, letters...))
	}
	for _, l := range letters {
		if err := o.answer(nil, "%d %s %s: %s", l.Position, l.Type, l.ID, firstLine(l.Cause)); err != nil {
			return err
		}
	}
	return o.answer(nil, "%d dead letters", len(letters))
}

// requeueLetters hands all dead letters to the owners of their partitions and
// waits until each was handled, or is a dead letter again.
func (o *operation) requeueLetters(ctx context.Context, name string) error {
	letters, err := reaction.Letters(ctx, o.log, name)
	if err != nil {
		return err
	}
	requeued := len(letters)
	if requeued > 0 {
		asks := make([]reaction.Requeue, requeued)
		for i, l := range letters {
			asks[i] = reaction.Requeue{Stream: l.Stream, Sequence: l.Sequence, Position: l.Position}
		}
		if err := (reaction.PostgresRequeues{Pool: o.writer}).Add(ctx, name, asks); err != nil {
			return err
		}
		if err := reaction.Answered(ctx, o.log, name, letters[requeued-1].Offset); err != nil {
			return err
		}
	}
	if o.folder != nil {
		defer o.beside(ctx, roleHandlers, o.runReactions)()
	}
	if err := o.awaitRequeues(ctx, name); err != nil {
		return err
	}
	again, err := reaction.Letters(ctx, o.log, name)
	if err != nil {
		return err
	}
	err = o.answer(map[string]any{"reaction": name, "requeued": requeued, "dead_again": len(again)},
		"%s: %d events handled again, %d of them failed again", name, requeued, len(again))
	if len(again) > 0 {
		err = errors.Join(err, fmt.Errorf("%d events of %s are dead letters again", len(again), name))
	}
	return err
}

func (o *operation) awaitRequeues(ctx context.Context, name string) error {
	for deadline := time.Now().Add(requeuePatience); ; {
		waiting, err := reaction.PostgresRequeues{Pool: o.writer}.Waiting(ctx, name)
		switch {
		case err != nil || len(waiting) == 0:
			return err
		case time.Now().After(deadline):
			return errNobodyOwns.With("%d events are noted to be handled again, but no process has done it yet", len(waiting))
		case !wait(ctx, requeueEvery):
			return context.Cause(ctx)
		}
	}
}

// makeDeadLetterTopics makes a topic per reaction, of one partition so that the
// letters keep their order.
func (n *node) makeDeadLetterTopics(ctx context.Context, reactions []reaction.Reaction) error {
	topics := make([]log.Topic, len(reactions))
	for i, r := range reactions {
		topics[i] = log.Topic{Name: reaction.DeadLetterTopic(r.Name), Partitions: 1}
	}
	return n.log.Create(ctx, topics)
}

// resumes keeps the resume points of reactions in Postgres, and copies in Kafka
// where that can hold them. The function it returns writes the last copies.
func (n *node) resumes(ctx context.Context) (reaction.Resumes, func(), error) {
	first := reaction.PostgresResumes{Pool: n.writer}
	offsets, ok := n.log.(log.Offsets)
	if !ok {
		return first, func() {}, nil
	}
	s, err := n.store.Settings(ctx)
	if err != nil {
		return nil, nil, err
	}
	copies := &reaction.Copies{First: first, Offsets: offsets, LogID: s.LogID, Epoch: n.epochNow, Logger: n.logger}
	running, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		copies.Run(running)
	}()
	return copies, func() {
		cancel()
		<-ended
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		n.closing("copies of resume points", func() error { return copies.Flush(last) })
	}, nil
}
