"""What runs only on one machine: the reference use case's feeds, the embedded services, the replay of 2013."""
