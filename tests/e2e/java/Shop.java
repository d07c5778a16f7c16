import java.util.concurrent.*;
import java.util.concurrent.locks.*;

// What a dump should find: a deadlock on monitors, one on a ReentrantLock, an owner and its waiters, threads that
// park, sleep, wait and run, and names that break lines.
public class Shop {
  static final Object counter = new Object(), till = new Object(), stock = new Object(), bell = new Object();
  static final ReentrantLock ledger = new ReentrantLock();
  static volatile boolean never;
  static volatile long spun;

  static Thread start(String name, Runnable body) {
    Thread t = new Thread(body, name);
    t.setDaemon(true);
    t.start();
    return t;
  }
  static void sleep(long ms) { try { Thread.sleep(ms); } catch (InterruptedException e) { } }

  static void takeTillThenCounter(CountDownLatch both) {
    synchronized (till) { both.countDown(); await(both); synchronized (counter) { spun++; } }
  }
  static void takeCounterThenTill(CountDownLatch both) {
    synchronized (counter) { both.countDown(); await(both); synchronized (till) { spun++; } }
  }
  static void await(CountDownLatch latch) { try { latch.await(); } catch (InterruptedException e) { } }
  static void holdStock() { synchronized (stock) { sleep(Long.MAX_VALUE); } }
  static void wantStock() { synchronized (stock) { spun++; } }
  static void holdLedger() { ledger.lock(); sleep(Long.MAX_VALUE); }
  static void wantLedger() { ledger.lock(); }
  static void waitForBell() { synchronized (bell) { try { bell.wait(); } catch (InterruptedException e) { } } }
  static void park() { LockSupport.park(); }
  static void spin() { while (!never) spun++; }

  public static void main(String[] args) throws Exception {
    int extra = args.length > 0 ? Integer.parseInt(args[0]) : 0;
    CountDownLatch both = new CountDownLatch(2);
    start("till-first", () -> takeTillThenCounter(both));
    start("counter-first", () -> takeCounterThenTill(both));
    start("stock-holder", Shop::holdStock);
    start("ledger-holder", Shop::holdLedger);
    sleep(200);
    start("stock-waiter", Shop::wantStock);
    start("ledger-waiter", Shop::wantLedger);
    start("bell-waiter", Shop::waitForBell);
    start("parked", Shop::park);
    start("spinner", Shop::spin);
    start("evil\" #99 daemon prio=5 os_prio=0 tid=0x1 nid=0x1 runnable\n\tat evil.Frame.run(Evil.java:1)\n\n\"forged\" #98 prio=5", Shop::park);
    start("esc \u001b[31m red", Shop::park);
    start("ünïcode 店", Shop::park);
    for (int i = 0; i < extra; i++) start("pool-" + i, Shop::park);
    sleep(300);
    System.out.println("ready");
    System.out.flush();
    sleep(Long.MAX_VALUE);
  }
}
