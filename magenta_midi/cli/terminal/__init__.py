"""What commands share: options, errors, output, interrupts."""
