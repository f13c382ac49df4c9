// Money is in cents.

struct Stock {
  1: string item
  2: i32 left
  3: i32 cents
}

struct Order {
  1: string id
  2: string user
  3: string item
  4: i32 cents
}

exception OutOfStock {
  1: string item
  2: string message
}

service Pricing {
  /** What `quantity` pieces cost together. */
  i32 quote(1: string item, 2: i32 quantity)
}

service Inventory {
  Stock check(1: string item)
  /** Takes one piece off the shelf; answers how many are left. */
  i32 reserve(1: string item) throws (1: OutOfStock outOfStock)
}

service Orders {
  /** What the item will cost this user. */
  i32 estimate(1: string user, 2: string item)
  Order place(1: string user, 2: string item)
  oneway void sendReceipt(1: string orderId)
}
