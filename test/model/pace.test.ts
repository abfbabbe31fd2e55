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
