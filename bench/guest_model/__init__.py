# SPDX-License-Identifier: Apache-2.0
"""What bench/guest consists of."""
