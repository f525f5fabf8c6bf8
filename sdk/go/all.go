package hishamos

import (
	"context"
	"iter"

	"github.com/hishamos/hishamos/api/v1"
)

// AllRuns are the runs of every page, fetched as they are asked for. An error
// ends the sequence.
func (c *Client) AllRuns(ctx context.Context, q RunsQuery) iter.Seq2[v1.Run, error] {
	return all(q.Page, func(p Page) ([]v1.Run, string, error) {
		q.Page = p
		list, err := c.Runs(ctx, q)
		return list.Items, list.Next, err
	})
}

// AllFiles are the files of every page.
func (c *Client) AllFiles(ctx context.Context, q FilesQuery) iter.Seq2[v1.File, error] {
	return all(q.Page, func(p Page) ([]v1.File, string, error) {
		q.Page = p
		list, err := c.Files(ctx, q)
		return list.Items, list.Next, err
	})
}

// AllTasks are the tasks of every page.
func (c *Client) AllTasks(ctx context.Context, q TasksQuery) iter.Seq2[v1.Task, error] {
	return all(q.Page, func(p Page) ([]v1.Task, string, error) {
		q.Page = p
		list, err := c.Tasks(ctx, q)
		return list.Items, list.Next, err
	})
}

// AllEvents are the events of the log after a position, up to where it ends when
// the reader gets there.
func (c *Client) AllEvents(ctx context.Context, after v1.Ordinal, types ...string) iter.Seq2[v1.Event, error] {
	return func(yield func(v1.Event, error) bool) {
		for {
			page, err := c.Log(ctx, after, 0, types...)
			if err != nil {
				yield(v1.Event{}, err)
				return
			}
			for _, e := range page.Items {
				if !yield(e, nil) {
					return
				}
			}
			if !page.More {
				return
			}
			after = page.Next
		}
	}
}

func all[T any](p Page, fetch func(Page) ([]T, string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			items, next, err := fetch(p)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, one := range items {
				if !yield(one, nil) {
					return
				}
			}
			if p.Cursor = next; next == "" {
				return
			}
		}
	}
}
