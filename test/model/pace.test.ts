import { expect, it } from 'vitest';
import { Pace, stepsTogether } from '../../src/model/pace.ts';

it('only short steps are submitted together, eight at most', () => {
  expect([0.05, 0.2, 0.5, 0.6, 0.67, 1, 1.01, 2.5, 40, Number.POSITIVE_INFINITY].map(stepsTogether)).toEqual([
    8, 8, 4, 3, 2, 2, 1, 1, 1, 1,
  ]);
});

it('follows how long steps take', () => {
  const pace = new Pace(4);
  expect(pace.together).toBe(1);
  pace.note(1, 0.3);
  expect(pace.together).toBe(6);
  // One that was held up changes little, slower steps all.
  pace.note(4, 4);
  expect(pace.together).toBe(4);
  for (let i = 0; i < 20; i++) pace.note(2, 3);
  expect(pace.together).toBe(1);
});

it('keeps some milliseconds of short steps under way', () => {
  const next = (stepMs: number) => {
    const pace = new Pace(3);
    pace.note(1, stepMs);
    return pace.next;
  };
  expect(next(40)).toEqual({ steps: 1, submits: 3 });
  expect(next(1)).toEqual({ steps: 2, submits: 4 });
  expect(next(0.6)).toEqual({ steps: 3, submits: 5 });
  expect(next(0.2)).toEqual({ steps: 8, submits: 5 });
  expect(next(0.05)).toEqual({ steps: 8, submits: 8 });
  const apart = new Pace(3, true);
  apart.note(1, 0.2);
  expect(apart.next).toEqual({ steps: 1, submits: 3 });
});
