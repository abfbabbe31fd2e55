import { mfa_tile } from '../../src/kernels/mfa_tile.ts';
import { testEmulated } from '../emulated.ts';
import { emulatedTile, tileBytes } from '../emulated_tile.ts';
import { testKernel } from '../harness.ts';

testKernel(mfa_tile);
testEmulated(mfa_tile, emulatedTile, tileBytes);
