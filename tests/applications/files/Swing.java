// SPDX-License-Identifier: MIT
import java.awt.BorderLayout;
import java.awt.Color;
import java.awt.Dimension;
import java.awt.GradientPaint;
import java.awt.Graphics;
import java.awt.Graphics2D;
import javax.swing.JButton;
import javax.swing.JFrame;
import javax.swing.JPanel;
import javax.swing.JTable;
import javax.swing.SwingUtilities;

// A window with a table, a button, and something painted.
class Swing extends JPanel {
	Swing() {
		setPreferredSize(new Dimension(400, 300));
	}

	@Override
	protected void paintComponent(Graphics graphics) {
		super.paintComponent(graphics);
		((Graphics2D) graphics).setPaint(
			new GradientPaint(0, 0, Color.ORANGE, 400, 300, Color.BLUE));
		graphics.fillOval(20, 20, 360, 260);
	}

	static void show(String title) {
		JFrame frame = new JFrame(title);
		frame.setDefaultCloseOperation(JFrame.EXIT_ON_CLOSE);
		frame.add(new Swing(), BorderLayout.CENTER);
		frame.add(new JTable(5, 4), BorderLayout.NORTH);
		frame.add(new JButton("A button"), BorderLayout.SOUTH);
		frame.pack();
		frame.setVisible(true);
	}

	public static void main(String[] arguments) {
		SwingUtilities.invokeLater(() -> show("Swing"));
	}
}
